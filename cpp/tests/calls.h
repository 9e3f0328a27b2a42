// The engine on the cases of naive.h, and how far two results are apart.
#ifndef FASTBPTT_TESTS_CALLS_H
#define FASTBPTT_TESTS_CALLS_H

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "naive.h"

namespace calls {

using namespace fastbptt;
using naive::at;
using naive::Data;
using naive::NetworkCase;
using naive::Result;

inline bool environment_is(const char* name, const std::string& value) {
  const char* text = std::getenv(name);
  return text && value == text;
}

// Every shape that the documentation promises; else those up to 65 wide and 10 long
inline bool full_grid() {
  return environment_is("FASTBPTT_TEST_GRID", "full") || environment_is("FASTBPTT_TEST_GRID", "all");
}

// Under sanitizers and emulators, where a case may take seconds: one in so many
inline std::size_t one_in() {
  return environment_is("FASTBPTT_TEST_GRID", "few") ? 4 : environment_is("FASTBPTT_TEST_GRID", "fewest") ? 16 : 1;
}
// of each four another one, or of each sixteen
inline bool in_sample(std::size_t n) { return (n + n / one_in()) % one_in() == 0; }

// Where time does not matter: every float, and every instruction set where else they take turns
inline bool thorough() { return environment_is("FASTBPTT_TEST_FLOATS", "all"); }

// f(name) with each instruction set in use
template <class F>
void for_backends(const F& f) {
  const std::string before = active().name;
  for (const Backend& b : backends()) {
    if (!b.usable) continue;
    use(b.name);
    f(std::string(b.name));
  }
  use(before);
}

// With one of them, another one for each turn, if this one is in the sample
template <class F>
void for_backends_in_turns(std::size_t turn, const F& f) {
  if (!in_sample(turn)) return;
  std::vector<std::string> usable;
  for_backends([&](const std::string& name) { usable.push_back(name); });
  for_backends([&](const std::string& name) {
    if (thorough() || name == usable[turn % usable.size()]) f(name);
  });
}

inline std::string text(const NetworkCase& c) {
  const Spec& s = c.net;
  const auto number = [](const char* name, i64 n) { return " " + std::string(name) + std::to_string(n); };
  std::string out = s.cell + number("layers ", s.layers) + number("B", c.B) + number("T", c.T) + number("I", s.inputs) +
                    number("H", s.hidden) + number("O", s.outputs) + " " + c.loss + number("steps ", int(c.steps)) +
                    number("reduction ", int(c.reduction));
  if (s.vocabulary) out += number("vocabulary ", s.vocabulary) + number("padding ", s.padding_index);
  return out + (s.bidirectional ? " bidirectional" : "") + (c.lengths ? " lengths" : "") +
         (c.initial ? " initial" : "") + (s.learn_state ? " learned" : "") + (s.static_size ? " static" : "") +
         (c.drop ? " dropout" : "") + (c.drop && s.recurrent_dropout > 0 ? " recurrent dropout" : "") +
         (s.has_zoneout() ? " zoneout" : "") + (c.drop && s.input_noise > 0 ? " input noise" : "") +
         (c.drop && s.recurrent_noise > 0 ? " noise" : "") + (c.weighted ? " weights" : "") +
         (s.freeze_embedding ? " frozen" : "") + (s.bias ? "" : " no bias") +
         (s.read_units.empty() ? "" : " some units") + (s.rank ? " low rank" : "") +
         (s.output_bias < 0 ? ""
          : s.output_bias   ? " output bias"
                            : " no output bias");
}

template <class R>
constexpr Dtype dtype_of = sizeof(R) == 4 ? Dtype::f32 : Dtype::f64;

// A contiguous array
inline Array array(const void* data, Dtype dtype, i64 a, i64 b = 0, i64 c = 0) {
  const i64 size = dtype == Dtype::f32 ? 4 : 8;
  return {data, dtype, {a, b, c}, {std::max<i64>(b, 1) * std::max<i64>(c, 1) * size, std::max<i64>(c, 1) * size, size}};
}

// Adam as Python sets it by default, with moments of its own
template <class R>
struct AdamOf {
  explicit AdamOf(std::size_t count) : m(count, R(0)), v(count, R(0)) {
    for (const auto& [name, value] : {std::pair{"lr", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}})
      state.set(name, value);
    state.attach("m", m.data());
    state.attach("v", v.data());
  }
  std::vector<R> m, v;
  OptimizerState state{"adam"};
};

// An engine and the arguments of its calls
template <class R>
class EngineCall {
 public:
  EngineCall(const NetworkCase& c, const Data& given)
      : case_(c),
        params_(naive::cast<R>(given.params)),
        tokens_(given.tokens),
        classes_(given.classes),
        lengths_(given.lengths),
        sample_weight_(given.sample_weight),
        x_(naive::cast<R>(given.x)),
        y_(naive::cast<R>(given.y)),
        d_outputs_(naive::cast<R>(given.d_outputs)),
        d_last_(naive::cast<R>(given.d_last)),
        d_hidden_(naive::cast<R>(given.d_hidden)),
        states_(cell_info(c.net.cell).states),
        loss_(c.loss),
        engine_(make_engine(c.net, dtype_of<R>, params_.data())) {
    const Spec& s = c.net;
    constexpr Dtype dtype = dtype_of<R>;
    batch.x = s.vocabulary ? array(tokens_.data(), Dtype::i64, c.B, c.T) : array(x_.data(), dtype, c.B, c.T, s.inputs);
    if (c.lengths) batch.lengths = lengths_.data();
    for (int k = 0; k < states_; ++k) {
      initial_[k] = naive::cast<R>(given.initial[k]);
      d_final_[k] = naive::cast<R>(given.d_final[k]);
      if (c.initial && k >= cell_info(c.net.cell).given)
        batch.initial[k] = array(initial_[k].data(), dtype, s.state_rows(), c.B, s.hidden);
      if (!d_final_[k].empty())
        output_gradients.final_state[k] = array(d_final_[k].data(), dtype, s.state_rows(), c.B, s.hidden);
    }
    static_ = naive::cast<R>(given.static_inputs);
    if (s.static_size) batch.static_inputs = array(static_.data(), dtype, c.B, s.static_size);
    batch.drop = c.drop;
    batch.dropout_seed = given.dropout_seed;
    batch.noise = c.drop;
    batch.noise_seed = given.noise_seed;
    objective.blocks = {{.loss = &loss_}};
    objective.steps = c.steps;
    objective.reduction = c.reduction;
    const bool all = c.steps == Steps::all, classes = c.loss == "cross_entropy";
    const void* y = classes ? static_cast<const void*>(classes_.data()) : y_.data();
    const i64 width = classes ? 0 : s.output_width();
    objective.blocks[0].y = all ? array(y, classes ? Dtype::i64 : dtype, c.B, c.T, width)
                                : array(y, classes ? Dtype::i64 : dtype, c.B, width);
    if (c.weighted) objective.blocks[0].sample_weight = array(sample_weight_.data(), Dtype::f64, c.B);
    if (!d_outputs_.empty()) output_gradients.outputs = array(d_outputs_.data(), dtype, c.B, c.T, s.output_width());
    if (!d_last_.empty()) output_gradients.last = array(d_last_.data(), dtype, c.B, s.output_width());
    if (!d_hidden_.empty()) output_gradients.hidden = array(d_hidden_.data(), dtype, c.B, c.T, s.width());
  }
  EngineCall(const EngineCall&) = delete;
  EngineCall& operator=(const EngineCall&) = delete;

  Engine& engine() { return *engine_; }
  std::vector<R>& params() { return params_; }

  // Marks, so that what is not written is seen
  GradientTargets targets(Result<R>& out) const {
    const Spec& s = case_.net;
    GradientTargets to;
    out.params.assign(params_.size(), R(NAN));
    to.parameters = out.params.data();
    if (!s.vocabulary) {
      out.x.assign(x_.size(), R(NAN));
      to.x = {out.x.data(), case_.T * s.inputs, s.inputs};
    }
    for (int k = 0; k < states_; ++k) {
      out.initial[k].assign(at(s.state_rows() * case_.B * s.hidden), R(NAN));
      to.initial[k] = out.initial[k].data();
      if (k < cell_info(s.cell).given)
        std::fill(out.initial[k].begin(), out.initial[k].end(), R(0));  // nobody gives it
    }
    return to;
  }

  Result<R> loss_and_grad(i64 memory_budget = 0) { return loss_and_grad_on(*engine_, memory_budget); }
  Result<R> loss_and_grad_on(Engine& engine, i64 memory_budget = 0) const {
    Result<R> out;
    out.loss = engine.loss_and_grad(batch, objective, targets(out), {}, memory_budget);
    return out;
  }

  std::unique_ptr<Tape> forward() { return engine_->forward(batch); }

  // What a tape shows
  void read(const Tape& tape, Result<R>& out) const {
    const Spec& s = case_.net;
    out.outputs.assign(at(case_.B * case_.T * s.output_width()), R(NAN));
    out.hidden.assign(at(case_.B * case_.T * s.width()), R(NAN));
    out.last.assign(at(case_.B * s.output_width()), R(NAN));
    tape.outputs(out.outputs.data());
    tape.hidden({out.hidden.data(), case_.T * s.width(), s.width()});
    tape.last(out.last.data());
    for (int k = 0; k < states_; ++k) {
      out.final[k].assign(at(s.state_rows() * case_.B * s.hidden), R(NAN));
      tape.final_state(k, out.final[k].data());
    }
  }

  // What a pass without a backward one gives
  Result<R> predict() {
    const Spec& s = case_.net;
    Result<R> out;
    out.outputs.assign(at(case_.B * case_.T * s.output_width()), R(NAN));
    out.last.assign(at(case_.B * s.output_width()), R(NAN));
    Predictions to;
    to.outputs = {out.outputs.data(), case_.T * s.output_width(), s.output_width()};
    to.one = out.last.data();
    for (int k = 0; k < states_; ++k) {
      out.final[k].assign(at(s.state_rows() * case_.B * s.hidden), R(NAN));
      to.final_state[k] = out.final[k].data();
    }
    engine_->predict(batch, to);
    return out;
  }

  // From the gradients that were given
  Result<R> backward(Tape& tape) {
    Result<R> out;
    engine_->backward(tape, output_gradients, targets(out));
    return out;
  }

  Batch batch;
  Objective objective;
  OutputGradients output_gradients;

 private:
  NetworkCase case_;
  std::vector<R> params_;
  std::vector<i64> tokens_, classes_, lengths_;
  std::vector<double> sample_weight_;
  std::vector<R> static_, x_, y_, d_outputs_, d_last_, d_hidden_, initial_[CellInfo::most_states],
      d_final_[CellInfo::most_states];
  int states_;
  Loss loss_;
  std::unique_ptr<Engine> engine_;
};

template <class A>
double largest(const A* a, std::size_t n) {
  double most = 0;
  for (std::size_t i = 0; i < n; ++i) most = std::max(most, std::fabs(double(a[i])));
  return most;
}

// Largest difference, relative to the largest entry of what is expected, or to `least` if that is more; infinite where
// a value is not finite. Numbers below the smallest normal one are zero by design, so entries are seen relative to at
// least 1 / epsilon of it.
template <class A>
double difference(const A* got, const double* expected, std::size_t n, double least = 0) {
  using Limits = std::numeric_limits<A>;
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double d = std::fabs(double(got[i]) - expected[i]);
    worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
  }
  return worst / std::max({largest(expected, n), least, double(Limits::min()) / double(Limits::epsilon())});
}

template <class A>
double difference(const std::vector<A>& got, const std::vector<double>& expected) {
  return got.size() == expected.size() ? difference(got.data(), expected.data(), got.size()) : HUGE_VAL;
}

// Each parameter by itself; but one that is much smaller than the others may be what is left of a sum that cancels
template <class A>
double gradient_difference(const Spec& spec, const Result<A>& got, const Result<double>& expected) {
  double worst = std::max({difference(got.x, expected.x), difference(got.initial[0], expected.initial[0]),
                           difference(got.initial[1], expected.initial[1])});
  if (got.params.size() != expected.params.size()) return HUGE_VAL;
  const double least = 0.01 * largest(expected.params.data(), expected.params.size());
  for (const Parameter& p : layout(spec)) {
    const i64 size = p.shape[0] * (p.shape.size() == 2 ? p.shape[1] : 1);
    worst = std::max(worst, difference(&got.params[at(p.offset)], &expected.params[at(p.offset)], at(size), least));
  }
  return worst;
}

template <class A>
double shown_difference(const Result<A>& got, const Result<double>& expected) {
  return std::max({difference(got.outputs, expected.outputs), difference(got.hidden, expected.hidden),
                   difference(got.last, expected.last), difference(got.final[0], expected.final[0]),
                   difference(got.final[1], expected.final[1])});
}

template <class A>
double loss_difference(const Result<A>& got, const Result<double>& expected) {
  return std::fabs(got.loss - expected.loss) / std::fabs(expected.loss);
}

template <class A>
bool same_bits(const std::vector<A>& a, const std::vector<A>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(A)) == 0);
}

template <class A>
bool same_bits(const Result<A>& a, const Result<A>& b) {
  bool same = std::memcmp(&a.loss, &b.loss, sizeof a.loss) == 0;
  for (const auto part : {&Result<A>::outputs, &Result<A>::hidden, &Result<A>::last, &Result<A>::params, &Result<A>::x})
    same = same && same_bits(a.*part, b.*part);
  for (int k = 0; k < CellInfo::most_states; ++k)
    same = same && same_bits(a.final[k], b.final[k]) && same_bits(a.initial[k], b.initial[k]);
  return same;
}

}  // namespace calls

#endif
