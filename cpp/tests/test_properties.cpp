// What must hold for every cell, whatever it computes: the same bits from any number of threads, from a second call and
// with any memory budget; one step at a time, the end of vanishing gradients, several backward passes from one tape.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <string>

#include "calls.h"
#include "dispatch.h"
#include "naive.h"
#include "thread_pool.h"

using namespace fastbptt;
using calls::EngineCall;
using calls::for_backends;
using calls::for_backends_in_turns;
using calls::same_bits;
using calls::text;
using naive::at;
using naive::Data;
using naive::NetworkCase;
using naive::Result;

#ifndef __SANITIZE_ADDRESS__
extern std::atomic<std::size_t> aligned_bytes;  // main.cpp: how much the workspaces have asked for so far
#endif

namespace {

NetworkCase make(const std::string& cell, i64 B, i64 T, i64 I, i64 H, i64 O) {
  NetworkCase c;
  c.net.cell = cell;
  c.net.inputs = I;
  c.net.hidden = H;
  c.net.outputs = O;
  naive::give_setting(c.net, 0.3);
  c.B = B;
  c.T = T;
  return c;
}

// Of any cell, those that naive.h does not know too
Data data_of(const NetworkCase& c) { return naive::make_data(c, parameter_count(c.net), cell_info(c.net.cell).states); }

// Everything that calls on these arguments give
template <class R>
Result<R> all_calls(EngineCall<R>& call) {
  Result<R> out = call.loss_and_grad();
  const auto tape = call.forward();
  call.read(*tape, out);
  Result<R> alone = call.predict();
  CHECK(calls::same_bits(alone.outputs, out.outputs));
  CHECK(calls::same_bits(alone.last, out.last));
  for (int k = 0; k < CellInfo::most_states; ++k) CHECK(calls::same_bits(alone.final[k], out.final[k]));
  return out;
}

// Two layers or two directions, dropout, tokens, a learned state, sequences of very different lengths
std::vector<NetworkCase> varied(const std::string& cell, i64 B, i64 T, i64 H) {
  NetworkCase plain = make(cell, B, T, 17, H, 1);
  plain.loss = "bce";
  plain.initial = plain.drop = true;
  plain.net.input_noise = 0.1;
  plain.net.recurrent_noise = naive::kind(cell).gates == 1 ? 0.2 : 0;
  NetworkCase stacked = make(cell, B, T, 9, H, 3);
  stacked.net.layers = 2;
  stacked.net.dropout = 0.3;
  stacked.drop = stacked.lengths = stacked.weighted = true;
  stacked.net.recurrent_dropout = 0.2;
  if (!cell_info(cell).given) stacked.net.zoneout[0] = 0.1;
  stacked.net.learn_state = true;
  stacked.steps = Steps::all;
  stacked.loss = "cross_entropy";
  NetworkCase tokens = make(cell, B, T, 9, H, 0);
  tokens.net.bidirectional = true;
  tokens.net.layers = 2;
  tokens.net.vocabulary = 11;
  tokens.net.padding_index = 0;
  tokens.lengths = true;
  tokens.steps = Steps::all;
  tokens.reduction = Reduction::sequence_mean;
  std::vector<NetworkCase> cases{plain, stacked, tokens};
  for (std::size_t i = 0; i < cases.size(); ++i) cases[i].seed = static_cast<unsigned>(T + i);
  return cases;
}

}  // namespace

// A worker of a team has at least 4 million operations to do: else the team is smaller.
// Two blocks of the outputs of a case, with their parts of its y
template <class R>
OutputBlocks blocks_of(const EngineCall<R>& call, i64 first, i64 width, double weight) {
  const OutputBlock& whole = call.objective.blocks[0];
  OutputBlocks blocks;
  for (const i64 from : {i64(0), first}) {
    OutputBlock block = whole;
    block.first = from;
    block.width = from ? width - first : first;
    block.weight = from ? weight : 1;
    block.y.data = static_cast<const std::byte*>(whole.y.data) + from * whole.y.strides[2];
    block.y.shape[2] = block.width;
    blocks.push_back(block);
  }
  return blocks;
}

TEST_CASE_TEMPLATE("blocks of outputs sum up to the loss of all" * doctest::test_suite("properties"), R, float,
                   double) {
  NetworkCase c;
  c.net.cell = "gru";
  c.net.inputs = 3;
  c.net.hidden = 18;
  c.net.outputs = 5;
  c.loss = "mse";
  c.steps = Steps::all;
  c.reduction = Reduction::sum;
  c.lengths = c.weighted = true;
  c.B = 7;
  c.T = 9;
  const Data data = naive::make_data(c, parameter_count(c.net), cell_info(c.net.cell).states);
  EngineCall<R> call(c, data);
  const Result<R> whole = call.loss_and_grad();
  for (const i64 first : {1, 3}) {
    double losses[2] = {};
    EngineCall<R> divided(c, data);
    divided.objective.blocks = blocks_of(divided, first, c.net.outputs, 1);
    divided.objective.losses = losses;
    const Result<R> found = divided.loss_and_grad();
    CHECK(same_bits(found.params, whole.params));
    CHECK(same_bits(found.x, whole.x));
    CHECK(found.loss == doctest::Approx(whole.loss).epsilon(1e-12));
    CHECK(losses[0] + losses[1] == found.loss);
    CHECK(divided.engine().loss(divided.batch, divided.objective) == found.loss);
    EngineCall<R> silent(c, data);  // the second block counts nothing
    silent.objective.blocks = blocks_of(silent, first, c.net.outputs, 0);
    CHECK(silent.loss_and_grad().loss == losses[0]);
  }
}

TEST_CASE("neither the number of threads nor a second call changes a bit") {
  const auto check = [](const NetworkCase& c, const Data& data, const std::string& backend) {
    NetworkCase small = c;
    small.B = 2;
    small.T = 3;
    set_num_threads(1);
    EngineCall<float> call(c, data), other(small, data_of(small));
    const Result<float> one = all_calls(call);
    for (const int threads : {2, 3}) {
      set_num_threads(threads);
      CHECK_MESSAGE(same_bits(all_calls(call), one), backend, " ", text(c), ": ", threads);
    }
    // in the buffers of another batch
    other.loss_and_grad_on(call.engine());
    CHECK_MESSAGE(same_bits(all_calls(call), one), backend, " ", text(c), " again");
  };
  std::size_t n = 0;
  for (const std::string& cell : naive::structure_names()) {
    const bool gates = cell_info(cell).gates > 1;
    std::vector<NetworkCase> cases = varied(cell, 33, 14, gates ? 33 : 65);
    std::vector<Data> data;
    for (const NetworkCase& c : cases) data.push_back(data_of(c));
    NetworkCase uneven = make(cell, 5, 300, 20, gates ? 33 : 65, 2);
    uneven.steps = Steps::all;
    data.push_back(data_of(uneven));
    uneven.lengths = true;
    data.back().lengths = {2, 300, 1, 290, 1};
    cases.push_back(uneven);
    for (std::size_t i = 0; i < cases.size(); ++i, ++n) {
      for_backends_in_turns(n, [&](const std::string& backend) { check(cases[i], data[i], backend); });
    }
  }
  set_num_threads(default_threads());
}

// ------------------------------------------------------------------------------------------------- memory budget

namespace {

struct Trained {
  double loss = 0;
  i64 bytes = 0;  // that the workspace took
  MemoryReport report;
  std::vector<float> params;
  Result<float> seen;  // its final states
};

// One step of a new engine
Trained train(const NetworkCase& c, const Data& data, i64 memory_budget) {
  EngineCall<float> call(c, data);
  Trained out;
  calls::AdamOf<float> adam(call.params().size());
  Probes probes;
  for (int k = 0; k < cell_info(c.net.cell).states; ++k) {
    out.seen.final[k].assign(at(c.net.state_rows() * c.B * c.net.hidden), NAN);
    probes.final_state[k] = out.seen.final[k].data();
  }
#ifndef __SANITIZE_ADDRESS__
  const std::size_t before = aligned_bytes;
#endif
  out.loss = call.engine().train_step(call.batch, call.objective, {&adam.state, {.norm = 1}}, probes, memory_budget);
#ifndef __SANITIZE_ADDRESS__
  out.bytes = i64(aligned_bytes - before);
#endif
  out.report = call.engine().report();
  out.params = call.params();
  return out;
}

// What f(budget) needs, as its message for a budget of one byte says
template <class F>
i64 least_budget(const F& f) {
  try {
    f(1);
  } catch (const std::invalid_argument& error) {
    const std::string message = error.what(), before = "memory_budget is 1 bytes; expected at least ";
    CHECK(message.rfind(before, 0) == 0);
    const i64 least = std::atoll(message.c_str() + before.size());
    CHECK_THROWS_AS(f(least - 1), std::invalid_argument);
    return least;
  }
  return 0;
}

}  // namespace

TEST_CASE("a memory budget changes no bit, and is kept") {
  const auto check = [](const NetworkCase& c, const std::string& backend) {
    const std::string name = backend + " " + text(c);
    const Data data = data_of(c);
    EngineCall<float> call(c, data);
    const i64 needed = call.engine().memory_needed({c.B, c.T}, 0),
              least = least_budget([&](i64 b) { train(c, data, b); });
    const Trained whole = train(c, data, 0);
    const Result<float> expected = call.loss_and_grad();
    // what is asked for holds for any lengths and any loss
    CHECK_MESSAGE(least <= call.engine().minimum_memory({c.B, c.T}), name);
    CHECK_MESSAGE(whole.bytes <= needed, name);
    std::set<i64> segments;
    for (const double share : {0.0, 0.02, 0.06, 0.2, 0.5, 1.0}) {
      const i64 budget = least + i64(share * double(needed - least));
      const Trained kept = train(c, data, budget);
      CHECK_MESSAGE(kept.loss == whole.loss, name, " ", budget);
      CHECK_MESSAGE(same_bits(kept.params, whole.params), name, " ", budget);
      CHECK_MESSAGE(same_bits(kept.seen, whole.seen), name, " ", budget);
      CHECK_MESSAGE(kept.report.bytes <= budget, name);
      CHECK_MESSAGE(kept.bytes <= kept.report.bytes, name);
      CHECK(kept.report.recompute_seconds <= kept.report.seconds);
      CHECK((kept.report.recompute_seconds > 0) == (kept.report.segments > 1));
      segments.insert(kept.report.segments);
      // gradients of the input need some more memory; the smallest budget has it
      const i64 enough = std::max(budget, call.engine().minimum_memory({c.B, c.T}));
      CHECK_MESSAGE(same_bits(call.loss_and_grad(enough), expected), name, " ", budget);
    }
    CHECK_MESSAGE(segments.size() >= 3, name);
    CHECK(segments.count(1) == 1);
  };
  std::size_t n = 0;
  for (const std::string& cell : naive::structure_names())
    for (const NetworkCase& c : varied(cell, 5, 900, 7))
      if (!c.net.bidirectional) for_backends_in_turns(n++, [&](const std::string& backend) { check(c, backend); });
}

TEST_CASE("the smallest budget is enough, whatever the engine has done before") {
  NetworkCase c = make("gru", 5, 900, 9, 7, 3), longer = make("gru", 5, 1500, 9, 7, 3);
  c.steps = longer.steps = Steps::all;
  EngineCall<float> call(c, data_of(c)), other(longer, data_of(longer));
  const i64 least = call.engine().minimum_memory({5, 900});
  const Result<float> expected = call.loss_and_grad();
  for (const i64 budget : {i64(0), 2 * least, i64(0)}) {
    CHECK_NOTHROW(CHECK(same_bits(call.loss_and_grad(least), expected)));
    CHECK(call.engine().report().segments > 1);
    CHECK_THROWS_AS(call.loss_and_grad(least / 2), std::invalid_argument);
    CHECK(same_bits(call.loss_and_grad(), expected));
    CHECK_NOTHROW(CHECK(same_bits(call.loss_and_grad(least), expected)));
    other.loss_and_grad_on(call.engine(), budget);
  }
}

// Lengths decide whether a small layer's rows lie in lanes
TEST_CASE("what is asked for holds for any lengths of a small layer") {
  std::size_t turn = 0;
  const auto check = [](NetworkCase c, i64 kind) {
    Data data = data_of(c);
    c.lengths = true;
    data.lengths.clear();
    for (i64 b = 0; b < c.B; ++b)  // whole groups of long ones; few long ones; each its own
      data.lengths.push_back(kind == 0   ? (b < c.B / 8 * 8 ? c.T : 1)
                             : kind == 1 ? std::max<i64>(1, c.T * b * b * b / (c.B * c.B * c.B))
                                         : 1 + (b * 37 + 11) % c.T);
    for_backends([&](const std::string& backend) {
      EngineCall<float> call(c, data);
      const std::string name = backend + " " + text(c) + " kind " + std::to_string(kind);
      const i64 needed = call.engine().memory_needed({c.B, c.T, 0, false, c.steps}, 0),
                least = call.engine().minimum_memory({c.B, c.T, 0, false, c.steps});
      CHECK_MESSAGE(least <= needed, name);
      CHECK_NOTHROW_MESSAGE(CHECK_MESSAGE(train(c, data, needed).report.segments == 1, name), name);
      CHECK_NOTHROW_MESSAGE(CHECK_MESSAGE(train(c, data, least).report.bytes <= least, name), name);
    });
  };
  for (const std::string& cell : naive::structure_names())
    for (i64 H = 1; H <= 40; H += 3, ++turn) {
      const auto n = static_cast<i64>(turn);
      NetworkCase c =
          make(cell, 2 + n * 13 % 38, n % 4 == 0 ? 300 : 2 + n % 5, n % 3 == 0 ? 200 : 3, H, 1 + n * 7 % 40);
      c.steps = turn % 2 ? Steps::all : Steps::last;
      c.net.layers = 1 + n / 2 % 2;
      if (calls::in_sample(turn)) check(c, n % 3);
    }
}

TEST_CASE("the memory for a long sequence: linear, or as the budget says") {
  for (const std::string& cell : naive::structure_names()) {
    NetworkCase c = make(cell, 8, 20000, 30, 100, 5);
    c.net.layers = 2;
    std::vector<float> params(at(parameter_count(c.net)));
    const auto engine = make_engine(c.net, Dtype::f32, params.data());
    const i64 half = engine->memory_needed({8, 10000}, 0), whole = engine->memory_needed({8, 20000}, 0);
    CHECK(double(whole) == doctest::Approx(2.0 * double(half)).epsilon(0.1));
    const i64 least = engine->minimum_memory({8, 20000});
    CHECK(least < whole / 10);
    for (const i64 budget : {least, 2 * least, whole / 2, whole})
      CHECK(engine->memory_needed({8, 20000}, budget) <= budget);
  }
  NetworkCase c = make("rnn", 1, 10, 2, 3, 1);
  c.net.bidirectional = true;
  CHECK_THROWS_WITH_AS(train(c, data_of(c), 1 << 30),
                       "memory_budget is given; expected none for a bidirectional network", std::invalid_argument);
}

// --------------------------------------------------------------------------------------------------- train_step

TEST_CASE_TEMPLATE("a training step is the gradient and its update, and leaves the final states", R, float, double) {
  for_backends([&](const std::string& backend) {
    for (const std::string& cell : naive::structure_names())
      for (const NetworkCase& c : varied(cell, 4, 9, 7)) {
        EngineCall<R> step(c, data_of(c)), parts(c, data_of(c));
        calls::AdamOf<R> one(step.params().size()), two(step.params().size());
        Result<R> got, expected, gradient;
        parts.read(*parts.forward(), expected);
        got = expected;
        Probes probes;
        for (int k = 0; k < cell_info(cell).states; ++k) {
          std::fill(got.final[k].begin(), got.final[k].end(), R(NAN));
          probes.final_state[k] = got.final[k].data();
        }
        const double loss = step.engine().train_step(step.batch, step.objective, {&one.state, {}}, probes);
        CHECK_MESSAGE(same_bits(got, expected), backend, " ", text(c));
        gradient = parts.loss_and_grad();
        parts.engine().update({&two.state, {}}, gradient.params.data(), true);
        CHECK(loss == gradient.loss);
        CHECK_MESSAGE(same_bits(step.params(), parts.params()), backend, " ", text(c));
        CHECK_MESSAGE(same_bits(one.m, two.m), backend, " ", text(c));
        CHECK(one.state.step == 1);
      }
  });
}

TEST_CASE("a frozen embedding stays, and of another only rows that occur change") {
  for (const bool frozen : {true, false}) {
    NetworkCase c = make("gru", 2, 3, 4, 5, 1);
    c.net.vocabulary = 6;
    c.net.padding_index = 1;
    c.net.freeze_embedding = frozen;
    Data data = data_of(c);
    data.tokens = {0, 1, 4, 4, 1, 0};
    EngineCall<double> call(c, data);
    calls::AdamOf<double> adam(call.params().size());
    call.engine().train_step(call.batch, call.objective, {&adam.state, {.norm = 1}});
    const Result<double> gradient = call.loss_and_grad();
    const i64 E = layout(c.net).back().offset;
    for (i64 token = 0; token < 6; ++token)
      for (i64 j = 0; j < 4; ++j) {
        const std::size_t i = at(E + token * 4 + j);
        const bool moves = !frozen && (token == 0 || token == 4);
        CHECK((call.params()[i] != data.params[i]) == moves);
        CHECK((gradient.params[i] != 0) == moves);
      }
    CHECK(call.params()[0] != data.params[0]);
  }
}

TEST_CASE_TEMPLATE("frozen parameters take no part in check, norm, decay and update", R, float, double) {
  for_backends([&](const std::string& backend) {
    NetworkCase c = make("gru", 3, 6, 5, 40, 2);
    c.net.layers = 2;
    c.net.vocabulary = 7;
    c.net.padding_index = 3;
    const std::vector<Parameter> all = layout(c.net);
    const i64 count = parameter_count(c.net);
    for (const std::vector<std::string>& names :
         {std::vector<std::string>{}, {"W_xh"}, {"b_h", "W_hh_l1"}, {"E"}, {"W_hy", "b_y", "E"}}) {
      // which elements an update may change
      std::vector<char> moves(at(count), 1);
      for (std::size_t i = 0; i < all.size(); ++i)
        for (i64 j = all[i].offset; j < (i + 1 < all.size() ? all[i + 1].offset : count); ++j)
          if (std::find(names.begin(), names.end(), all[i].name) != names.end()) moves[at(j)] = 0;
      const i64 padding = all.back().offset + 3 * 5;
      for (i64 j = padding; j < padding + 5; ++j) moves[at(j)] = 0;

      EngineCall<R> call(c, data_of(c));
      call.engine().freeze(names);
      calls::AdamOf<R> adam(at(count));
      adam.state.set("weight_decay", 0.1);
      std::vector<R> gradient(at(count), R(0.25));
      for (i64 j = 0; j < count; ++j)
        if (!moves[at(j)]) gradient[at(j)] = NAN;
      const std::vector<R> before = call.params();
      call.engine().update({&adam.state, {}}, gradient.data(), true);
      for (i64 j = 0; j < count; ++j) {
        CHECK_MESSAGE((call.params()[at(j)] != before[at(j)]) == bool(moves[at(j)]), backend, " ", j);
        CHECK_MESSAGE((adam.m[at(j)] != 0) == bool(moves[at(j)]), backend, " ", j);
      }
      CHECK(adam.state.step == 1);
      for (const auto& [to, moved] : {std::pair<const char*, bool>{"W_xh_l1", true}, {"W_hy", names.size() != 3}}) {
        const auto place =
            at(std::find_if(all.begin(), all.end(), [name = to](const auto& p) { return p.name == name; })->offset);
        gradient[place] = NAN;
        if (moved)
          CHECK_THROWS_WITH(
              call.engine().update({&adam.state, {}}, gradient.data(), true),
              ("the gradient of " + std::string(to) + " holds a value that is not finite (nan) at index (0, 0)")
                  .c_str());
        gradient[place] = R(0.25);
      }
      CHECK(adam.state.step == 1);
    }
    EngineCall<R> call(c, data_of(c));
    CHECK_THROWS_WITH(call.engine().freeze({"b_y", "W_yh"}), "'W_yh' is not a parameter");
  });
}

// With decays of 0, m is the gradient as clipped
TEST_CASE_TEMPLATE("clipping, by norm over what is trained or by value", R, float, double) {
  const NetworkCase c = make("lstm", 4, 7, 6, 90, 2);
  EngineCall<R> first(c, data_of(c));
  const Result<R> gradient = first.loss_and_grad();
  double squares = 0, largest = 0;
  for (std::size_t i = 0; i < gradient.params.size(); ++i) {
    largest = std::max(largest, std::fabs(double(gradient.params[i])));
    if (i >= std::size_t(6 * 4 * 90)) squares += double(gradient.params[i]) * double(gradient.params[i]);
  }
  const double norm = std::sqrt(squares);
  for (const Clip& clip : {Clip{}, Clip{.norm = norm / 4}, Clip{.norm = norm * 2}, Clip{.value = largest / 3}})
    for (const bool check : {true, false}) {
      EngineCall<R> call(c, data_of(c));
      call.engine().freeze({"W_xh"});
      calls::AdamOf<R> adam(call.params().size());
      adam.state.set("beta1", 0);
      call.batch.check_finite = check;
      call.engine().train_step(call.batch, call.objective, {&adam.state, clip});
      const double scale = clip.norm >= 0 ? std::min(1.0, clip.norm / norm) : 1;
      for (std::size_t i = 0; i < adam.m.size(); ++i) {
        double expected = i < std::size_t(6 * 4 * 90) ? 0 : scale * double(gradient.params[i]);
        if (clip.value >= 0) expected = std::clamp(expected, -double(R(clip.value)), double(R(clip.value)));
        CHECK(std::fabs(double(adam.m[i]) - expected) <=
              4 * double(std::numeric_limits<R>::epsilon()) * std::fabs(expected));
      }
      EngineCall<R> own(c, data_of(c));  // by gradients of the caller's, which stay as they are
      own.engine().freeze({"W_xh"});
      calls::AdamOf<R> twin(own.params().size());
      twin.state.set("beta1", 0);
      const std::vector<R> given = gradient.params;
      own.engine().update({&twin.state, clip}, given.data(), check);
      CHECK(same_bits(given, gradient.params));
      CHECK(same_bits(own.params(), call.params()));
    }
  calls::AdamOf<R> adam(first.params().size());
  CHECK_THROWS_WITH(first.engine().train_step(first.batch, first.objective, {&adam.state, {.value = 1, .norm = 1}}),
                    "clip.value and clip.norm are both given; expected one of them");
  OptimizerState bare("adam");
  CHECK_THROWS_WITH(first.engine().train_step(first.batch, first.objective, {&bare, {}}),
                    "the optimizer lacks its slot 'm'");
  CHECK_THROWS_WITH(bare.set("rate", 1),
                    "the optimizer has no setting 'rate'; expected one of lr, beta1, beta2, eps, "
                    "epsilon_hat, weight_decay, decoupled");
  CHECK_THROWS_WITH(bare.attach("w", nullptr), "the optimizer has no slot 'w'; expected one of m, v, v_max");
  CHECK_THROWS_WITH(bare.divide({{1, 0}}, {{0, 3, 0}, {2, 4, 0}}),
                    "the optimizer's groups overlap; expected parts in order, each of one group");
  CHECK_THROWS_WITH(OptimizerState("adams"), "optimizer is 'adams'; expected one of adam, sgd, rmsprop");
}

// Parts of any length, across chunks of 4096 and frozen parameters, against an optimiser for each
TEST_CASE_TEMPLATE("groups of parameters", R, float, double) {
  const NetworkCase c = make("rnn", 2, 3, 40, 130, 3);
  const Data data = data_of(c);
  const i64 count = parameter_count(c.net);
  std::vector<R> gradient(std::size_t(count), R(0));
  for (i64 i = 0; i < count; ++i) gradient[std::size_t(i)] = R(std::sin(double(i)));
  const std::vector<OptimizerState::GroupSettings> groups{{0.5, 0.25}, {2, 0}};
  const std::vector<OptimizerState::Part> parts{{0, 5, 1}, {5, 4096, 0}, {4100, 9000, 1}, {count - 3, count, 0}};
  const auto trained = [&](double lr, double decay, bool divides) {
    EngineCall<R> call(c, data);
    call.engine().freeze({"b_h"});
    calls::AdamOf<R> adam{gradient.size()};
    adam.state.set("lr", lr);
    adam.state.set("weight_decay", decay);
    if (divides) adam.state.divide(groups, parts);
    for (int step = 0; step < 3; ++step) call.engine().update({&adam.state, {}}, gradient.data(), true);
    return call.params();
  };
  const std::vector<R> found = trained(0.125, 0.5, true), others = trained(0.125, 0.5, false),
                       of_group[] = {trained(0.0625, 0.25, false), trained(0.25, 0, false)};
  std::vector<R> expected = others;
  for (const OptimizerState::Part& part : parts)
    std::copy(of_group[part.group].begin() + part.from, of_group[part.group].begin() + part.to,
              expected.begin() + part.from);
  CHECK(same_bits(found, expected));
  CHECK_FALSE(same_bits(found, others));
}

// --------------------------------------------------------------------------------------------------------- step

TEST_CASE_TEMPLATE("step by step as in one pass", R, float, double) {
  const double tolerance = sizeof(R) == 4 ? 1e-5 : 1e-13;
  for_backends([&](const std::string& backend) {
    unsigned n = 0;
    for (const std::string& cell : naive::structure_names())
      for (const i64 H : {1, 7, 16, 17, 65})
        for (const i64 layers : {1, 2, 3})
          for (const i64 B : {1, 3}) {
            ++n;
            NetworkCase c = make(cell, B, 5, 3, H, std::vector<i64>{0, 1, 20}[n % 3]);
            c.net.layers = layers;
            c.net.bias = n % 4 != 0;
            c.net.vocabulary = n % 5 < 2 ? 9 : 0;
            c.net.dropout = 0.5;  // not in prediction
            c.initial = true;
            c.seed = n;
            const Data data = data_of(c);
            EngineCall<R> call(c, data);
            Result<R> whole, steps;
            call.read(*call.forward(), whole);
            steps.outputs = whole.outputs;
            const int states = cell_info(cell).states;
            void* state[CellInfo::most_states] = {};
            for (int k = 0; k < states; ++k) {
              steps.final[k] = naive::cast<R>(data.initial[k]);
              state[k] = steps.final[k].data();
            }
            const i64 width = c.net.output_width();
            std::vector<R> y(at(B * width));
            for (i64 t = 0; t < c.T; ++t) {
              Array x = call.batch.x;
              x.data = static_cast<const std::byte*>(x.data) + t * x.strides[1];
              x.shape[1] = x.shape[2];
              x.strides[1] = x.strides[2];
              std::fill(y.begin(), y.end(), R(NAN));
              call.engine().step(x, state, y.data(), true);
              for (i64 b = 0; b < B; ++b)
                std::copy_n(&y[at(b * width)], width, &steps.outputs[at((b * 5 + t) * width)]);
            }
            const auto same = [&](const std::vector<R>& a, const std::vector<R>& b) {
              return calls::difference(a, std::vector<double>(b.begin(), b.end())) < tolerance;
            };
            CHECK(std::string(proof_of_backend()) == backend);
            CHECK_MESSAGE(same(steps.outputs, whole.outputs), backend, " ", text(c));
            for (int k = cell_info(cell).given; k < states; ++k)
              CHECK_MESSAGE(same(steps.final[k], whole.final[k]), backend, " ", text(c));
          }
  });
}

TEST_CASE("a step that fails changes no state") {
  NetworkCase c = make("lstm", 3, 1, 2, 5, 1);
  EngineCall<float> call(c, data_of(c));
  std::vector<float> h(15, 0.5F), c0(15, 0.25F), x{1, 2, 3, 4, 5, NAN}, y(3);
  const std::vector<float> before = h;
  void* state[] = {h.data(), c0.data()};
  CHECK_THROWS_WITH_AS(call.engine().step(calls::array(x.data(), Dtype::f32, 3, 2), state, y.data(), true),
                       "x_t holds a value that is not finite (nan) at index (2, 1)", std::invalid_argument);
  CHECK(h == before);
  CHECK(c0 == std::vector<float>(15, 0.25F));
  x[5] = 6;
  call.engine().step(calls::array(x.data(), Dtype::f32, 3, 2), state, y.data(), true);
  CHECK(h != before);
  c.net.vocabulary = 4;
  EngineCall<float> tokens(c, data_of(c));
  const std::vector<i64> bad{0, 3, 4};
  CHECK_THROWS_WITH_AS(tokens.engine().step(calls::array(bad.data(), Dtype::i64, 3), state, y.data(), true),
                       "x_t holds token 4 at index (2,); expected tokens 0 to 3", std::invalid_argument);
  c.net.bidirectional = true;
  EngineCall<float> both(c, data_of(c));
  CHECK_THROWS_AS(both.engine().step(calls::array(x.data(), Dtype::f32, 3, 2), state, y.data(), true),
                  std::invalid_argument);
}

// -------------------------------------------------------------------------------------------- vanishing gradients

namespace {

// Gradients shrink by about a hundred with each step; the gates that carry a state are shut
Data vanishing_data(const NetworkCase& c) {
  Data data = naive::make_data(c);
  for (const Parameter& p : layout(c.net)) {
    if (p.name.rfind("W_hh", 0) == 0)
      for (i64 i = 0; i < p.shape[0] * p.shape[1]; ++i) data.params[at(p.offset + i)] *= 0.01;
    if (p.name.rfind("b_h", 0) == 0 && p.shape[0] > c.net.hidden)  // z of a GRU, f of an LSTM
      for (i64 j = c.net.hidden; j < 2 * c.net.hidden; ++j) data.params[at(p.offset + j)] = -6;
  }
  return data;
}

constexpr i64 vanishing_steps = 800;

NetworkCase vanishing_case(const std::string& cell, i64 layers, bool bidirectional, i64 O) {
  NetworkCase c = make(cell, 2, vanishing_steps, 3, 9, O);
  naive::give_setting(c.net, 0.95);
  std::fill(c.net.setting.begin(), c.net.setting.end(), 0.95);
  c.net.learn_setting = false;
  c.net.layers = layers;
  c.net.bidirectional = bidirectional;
  c.net.dropout = 0.1;
  c.initial = c.drop = true;
  c.seed = static_cast<unsigned>(layers);
  return c;
}

template <class R>
bool all_zero(const std::vector<R>& a, i64 from, i64 to) {
  return std::all_of(a.begin() + from, a.begin() + to, [](R v) { return v == 0; });
}

}  // namespace

TEST_CASE("gradients that have vanished are zero, exactly") {
  const auto check = [](auto zero, const NetworkCase& c, const Data& data, const Result<double>& expected,
                        const std::string& name) {
    using R = decltype(zero);
    EngineCall<R> call(c, data);
    const Result<R> got = call.loss_and_grad();
    const double d = calls::gradient_difference(c.net, got, expected);
    CHECK_MESSAGE(d < (sizeof(R) == 4 ? 1e-4 : 1e-12), name, ": ", d);
    if (c.net.bidirectional) {
      CHECK_MESSAGE(all_zero(got.x, 350 * 3, 450 * 3), name);
      return;
    }
    CHECK_MESSAGE(all_zero(got.x, 0, (vanishing_steps - 300) * 3), name);
    for (i64 layer = 0; layer < c.net.layers; ++layer)
      for (int k = 0; k < cell_info(c.net.cell).states; ++k)
        CHECK_MESSAGE(all_zero(got.initial[k], layer * 2 * 9, layer * 2 * 9 + 9), name);
    const Result<R> kept = call.loss_and_grad(least_budget([&](i64 b) { call.loss_and_grad(b); }));
    CHECK_MESSAGE(call.engine().report().segments > 1, name);
    CHECK_MESSAGE(same_bits(kept, got), name);
  };
  std::size_t n = 0;
  for (const naive::Kind& kind : naive::structures())
    for (const i64 layers : {1, 2, 3})
      for (const bool bidirectional : {false, true})
        for (const bool ragged : {false, true}) {
          if ((layers == 1 ? ragged || bidirectional : layers == 2 || ragged == bidirectional) && !calls::thorough())
            continue;
          const std::size_t turn = n++;
          if (!calls::in_sample(turn)) continue;
          NetworkCase c = vanishing_case(kind.name, layers, bidirectional, layers == 1 ? 0 : 2);
          Data data = vanishing_data(c);
          c.lengths = ragged;
          if (ragged) data.lengths = {vanishing_steps, 60};  // the second one begins where nothing is left of the first
          const Result<double> expected = naive::network<double>(c, data);
          for_backends_in_turns(turn, [&](const std::string& backend) {
            check(float(0), c, data, expected, backend + " " + text(c));
            check(double(0), c, data, expected, backend + " double " + text(c));
          });
        }
}

// An input that is infinite saturates the units, and as a factor of a zero makes NaN: where backward has stopped
// before, nothing of it is seen.
TEST_CASE_TEMPLATE("backward stops where gradients have vanished", R, float, double) {
  for_backends([&](const std::string& backend) {
    for (const naive::Kind& kind : naive::structures())
      for (const i64 layers : {1, 3}) {
        if (!cell_info(kind.name).bounded) continue;  // nothing in it saturates
        NetworkCase c = vanishing_case(kind.name, layers, false, 2);
        c.net.inputs = 1;
        Data data = vanishing_data(c);
        data.x[0] = data.x[vanishing_steps] = 1e6;
        EngineCall<R> large(c, data);
        data.x[0] = data.x[vanishing_steps] = INFINITY;
        EngineCall<R> call(c, data);
        call.batch.check_finite = false;
        const Result<R> got = call.loss_and_grad();
        CHECK_MESSAGE(same_bits(got, large.loss_and_grad()), backend, " ", text(c));
        // but not if a gradient enters at each step
        call.objective.steps = Steps::all;
        const std::vector<R> y(at(c.B * c.T * 2), R(0));
        call.objective.blocks[0].y = calls::array(y.data(), calls::dtype_of<R>, c.B, c.T, 2);
        CHECK(std::isnan(call.loss_and_grad().params[0]));
      }
  });
}

// Units that saturate have no gradients, but hand on what they carry to steps where they do not
TEST_CASE_TEMPLATE("backward does not stop where only the gates have vanished", R, float, double) {
  for (const naive::Kind& kind : naive::structures()) {
    if (!cell_info(kind.name).bounded) continue;  // does not saturate
    NetworkCase c = make(kind.name, 1, 900, 2, 33, 1);
    naive::give_setting(c.net, 0.01);
    c.net.learn_setting = false;
    c.seed = 2;  // each cell has units that keep their state
    Data data = naive::make_data(c);
    for (i64 i = 100 * 2; i < 900 * 2; ++i) data.x[at(i)] = 1e6;
    const Result<double> expected = naive::network<double>(c, data);
    for_backends([&](const std::string& backend) {
      const double d = calls::gradient_difference(c.net, EngineCall<R>(c, data).loss_and_grad(), expected);
      CHECK_MESSAGE(d < (sizeof(R) == 4 ? 1e-4 : 1e-12), backend, " ", text(c), ": ", d);
    });
    CHECK_MESSAGE(all_zero(expected.x, 99 * 2, 99 * 2 + 2) == (kind.name == "rnn"), text(c));
  }
}

// -------------------------------------------------------------------------------------------------------- tapes

TEST_CASE_TEMPLATE("backward from a tape, from each of its ends and again", R, float, double) {
  for_backends([&](const std::string& backend) {
    unsigned n = 0;
    for (const naive::Kind& kind : naive::structures())
      for (const i64 layers : {1, 2, 3})
        for (const bool bidirectional : {false, true}) {
          ++n;
          NetworkCase c = make(kind.name, 3, 7, 4, n % 2 ? 17 : 6, n % 3 ? 3 : 0);
          c.net.layers = layers;
          c.net.bidirectional = bidirectional;
          c.net.dropout = 0.4;
          c.net.learn_state = n % 5 == 0;
          c.drop = true;
          c.lengths = n % 4 != 0;
          c.initial = n % 2;
          c.seed = n;
          Data data = naive::make_data(c);
          EngineCall<R> forward(c, data);
          const auto tape = forward.forward();
          const auto waves = [](i64 size, double phase) {
            std::vector<double> a;
            for (i64 i = 0; i < size; ++i) a.push_back(double(float(std::sin(phase + double(3 * i)))));
            return a;
          };
          const i64 width = c.net.output_width(), state = c.net.state_rows() * c.B * c.net.hidden;
          for (int ends = 0; ends < 12; ++ends) {  // outputs: none, all steps, last; final h; final c
            const int outputs = ends % 3;
            if (ends >= 6 && kind.states == 1) break;
            data.d_outputs = waves(outputs == 1 ? c.B * c.T * width : 0, 1);
            data.d_last = waves(outputs == 2 ? c.B * width : 0, 2);
            const bool hidden = ends == 0 || (int(n) + ends) % 2 == 0;
            data.d_hidden = waves(hidden ? c.B * c.T * c.net.width() : 0, 5);
            data.d_final[0] = waves(ends / 3 % 2 ? state : 0, 3);
            data.d_final[1] = waves(ends / 6 ? state : 0, 4);
            const Result<double> expected = naive::network<double>(c, data);
            EngineCall<R> call(c, data);
            forward.output_gradients = call.output_gradients;
            const Result<R> got = forward.backward(*tape);
            const double d = calls::gradient_difference(c.net, got, expected);
            CHECK_MESSAGE(d < (sizeof(R) == 4 ? 1e-4 : 1e-12), backend, " ", text(c), " ends ", ends, ": ", d);
            CHECK_MESSAGE(same_bits(forward.backward(*tape), got), backend, " ", text(c), " ends ", ends);
          }
        }
  });
}

TEST_CASE("what backward does not take") {
  const NetworkCase c = make("rnn", 2, 3, 2, 4, 1);
  Data data = naive::make_data(c);
  data.d_outputs.assign(6, 0.5);
  data.d_last.assign(2, 0.5);
  EngineCall<float> call(c, data), other(c, data);
  const auto tape = call.forward();
  CHECK_THROWS_AS(call.backward(*tape), std::invalid_argument);
  call.output_gradients.outputs = {};
  CHECK_NOTHROW(call.backward(*tape));
  CHECK_THROWS_AS(other.backward(*tape), std::invalid_argument);
}
