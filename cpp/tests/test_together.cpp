// Steps of several networks in one call beside the train_step of each: the same bits, whatever goes together.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "errors.h"
#include "naive.h"
#include "thread_pool.h"

using namespace fastbptt;
using calls::for_backends;
using calls::same_bits;
using naive::at;

namespace {

struct Case {
  Spec net;
  i64 B = 1, T = 7, count = 4;
  std::string loss = "mse";
  Steps steps = Steps::all;
  Reduction reduction = Reduction::mean;
  bool weights = false, step_weights = false, initial = false, penalties = false, blocks = false;
  std::string rule = "adam";
  double clip_norm = -1, clip_value = -1;
  bool views = false;  // x and y with strides, in another type
};

std::string text(const Case& c) {
  return c.net.cell + " layers " + std::to_string(c.net.layers) + " B " + std::to_string(c.B) + " T " +
         std::to_string(c.T) + " I " + std::to_string(c.net.inputs) + " H " + std::to_string(c.net.hidden) + " O " +
         std::to_string(c.net.outputs) + " count " + std::to_string(c.count) + " " + c.loss + " steps " +
         std::to_string(int(c.steps)) + " " + c.rule;
}

Case make(const std::string& cell, i64 B, i64 T, i64 I, i64 H, i64 O, i64 count) {
  Case c;
  c.net.cell = cell;
  c.net.inputs = I;
  c.net.hidden = H;
  c.net.outputs = O;
  naive::give_setting(c.net, 0.3);
  c.B = B;
  c.T = T;
  c.count = count;
  return c;
}

// A network with its own batch and optimiser
template <class R>
struct Network {
  Network(const Case& c, unsigned seed) : loss(c.loss), second("mae"), optimizer(c.rule) {
    std::mt19937 random(seed);
    const auto uniform = [&] { return std::uniform_real_distribution<double>(-1, 1)(random); };
    const auto fill = [&](auto& to, i64 n, const auto& value) {
      for (i64 i = 0; i < n; ++i) to.push_back(static_cast<typename std::decay_t<decltype(to)>::value_type>(value()));
    };
    const Spec& s = c.net;
    fill(params, parameter_count(s), [&] { return 0.9 * uniform(); });
    engine = make_engine(s, calls::dtype_of<R>, params.data());
    const bool all = c.steps == Steps::all;
    const i64 width = s.output_width(), rows = c.B * (all ? c.T : 1);
    const auto& info = *loss.info;
    fill(x, c.B * c.T * s.inputs, [&] { return 1.5 * uniform(); });
    fill(wide, 2 * c.B * c.T * s.inputs, uniform);
    if (c.views)  // every second sequence, of doubles
      for (i64 i = 0; i < i64(x.size()); ++i) wide[at(i + i / (c.T * s.inputs) * c.T * s.inputs)] = double(x[at(i)]);
    fill(y, rows * width, [&] {
      const double v = std::fabs(uniform());
      return info.two_values ? (v < 0.5 ? info.range.low : info.range.high) : v;
    });
    fill(classes, rows, [&] { return double(random() % unsigned(width)); });
    fill(weights, rows, [&] { return random() % 4 == 0 ? 0.0 : std::fabs(uniform()) + 0.1; });
    weights[0] = 1;
    batch.x = calls::array(x.data(), calls::dtype_of<R>, c.B, c.T, s.inputs);
    if (c.views) {
      batch.x = calls::array(wide.data(), Dtype::f64, c.B, c.T, s.inputs);
      batch.x.strides[0] *= 2;
    }
    if (c.initial)
      for (int k = cell_info(s.cell).given; k < cell_info(s.cell).states; ++k) {
        fill(initial[k], s.state_rows() * c.B * s.hidden, [&] { return 0.5 * uniform(); });
        batch.initial[k] = calls::array(initial[k].data(), calls::dtype_of<R>, s.state_rows(), c.B, s.hidden);
      }
    objective.steps = c.steps;
    objective.reduction = c.reduction;
    const auto block = [&](const Loss& of, i64 first, i64 columns, double weight) {
      OutputBlock b{.loss = &of, .first = first, .width = columns, .weight = weight};
      const i64 n = (columns ? columns : width) / of.outputs_per_target(), steps = all ? c.T : 0;
      if (of.info->targets == LossInfo::Targets::classes)
        b.y = calls::array(classes.data(), Dtype::i64, c.B, steps);
      else
        b.y = all ? calls::array(y.data(), calls::dtype_of<R>, c.B, c.T, n)
                  : calls::array(y.data(), calls::dtype_of<R>, c.B, n);
      if (c.weights) b.sample_weight = calls::array(weights.data(), Dtype::f64, c.B, c.step_weights ? c.T : 0);
      objective.blocks.push_back(b);
    };
    block(loss, 0, c.blocks ? width - 1 : 0, c.blocks ? 0.7 : 1);
    if (c.blocks) block(second, width - 1, 1, 1.5);
    if (c.blocks) objective.losses = losses;
    if (c.penalties) {
      objective.penalties = {{0, i64(params.size()), 2, 0.01}, {0, i64(params.size()) / 2, 1, 0.02}};
      objective.penalty_values = penalties;
    }
    for (const auto& [name, value] :
         {std::pair{"lr", 0.01}, {"beta1", 0.9}, {"beta2", 0.999}, {"alpha", 0.9}, {"momentum", 0.5}, {"eps", 1e-8}})
      for (const char* own : optimizer.info->settings)
        if (own && std::string(own) == name) optimizer.set(name, value);
    for (int k = 0; k < OptimizerInfo::most_slots; ++k)
      if (const char* name = optimizer.info->slots[k]; name && k < std::max(optimizer.info->required, 1)) {
        slots[k].assign(params.size(), R(0));
        optimizer.attach(name, slots[k].data());
      }
    update.optimizer = &optimizer;
    update.clip.norm = c.clip_norm;
    update.clip.value = c.clip_value;
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  TrainingStep step() {
    TrainingStep s;
    s.engine = engine.get();
    s.batch = batch;
    s.objective = objective;
    s.update = update;
    return s;
  }
  bool same(const Network& other) const {
    bool all = same_bits(params, other.params) && optimizer.step == other.optimizer.step;
    for (int k = 0; k < OptimizerInfo::most_slots; ++k) all = all && same_bits(slots[k], other.slots[k]);
    for (int k = 0; k < 2; ++k) all = all && penalties[k] == other.penalties[k] && losses[k] == other.losses[k];
    return all;
  }

  std::vector<R> params, x, y, initial[CellInfo::most_states], slots[OptimizerInfo::most_slots];
  std::vector<double> wide, weights;
  std::vector<i64> classes;
  double penalties[2] = {}, losses[2] = {};
  std::unique_ptr<Engine> engine;
  Loss loss, second;
  OptimizerState optimizer;
  Batch batch;
  Objective objective;
  Update update;
};

template <class R>
struct Networks {
  Networks(const Case& c, unsigned seed) {
    for (i64 i = 0; i < c.count; ++i) all.push_back(std::make_unique<Network<R>>(c, seed + unsigned(i)));
  }
  std::vector<TrainingStep> steps() {
    std::vector<TrainingStep> out;
    for (const auto& one : all) out.push_back(one->step());
    return out;
  }
  Network<R>& operator[](i64 i) { return *all[at(i)]; }
  std::vector<std::unique_ptr<Network<R>>> all;
};

// Returns how many networks went through a pass with others
template <class R>
i64 compare(const Case& c, unsigned seed, int steps = 2) {
  CAPTURE(text(c));
  CAPTURE(active().name);
  Networks<R> alone(c, seed), together(c, seed);
  i64 went = 0;
  for (int k = 0; k < steps; ++k) {
    std::vector<TrainingStep> all = together.steps();
    train_together(all);
    for (i64 i = 0; i < c.count; ++i) {
      CAPTURE(i);
      const double value = alone[i].engine->train_step(alone[i].batch, alone[i].objective, alone[i].update);
      REQUIRE(all[at(i)].error == nullptr);
      CHECK(std::memcmp(&value, &all[at(i)].loss, sizeof value) == 0);
      CHECK(alone[i].same(together[i]));
      went += all[at(i)].together > 1;
    }
  }
  return went;
}

template <class R>
i64 lanes() {
  return kernels_of<R>(active()).vector;
}

std::vector<std::string> cells() {
  std::vector<std::string> out;
  for (int i = 0; i < active().cells; ++i) out.push_back(active().cells_f32[i].name);
  return out;
}

std::vector<std::string> losses() {
  std::vector<std::string> out;
  for (int i = 0; i < active().losses; ++i) out.push_back(active().losses_f32[i].name);
  return out;
}

// Small sizes, at which all go together
constexpr i64 units[] = {1, 2, 5, 9, 10, 3}, batches[] = {1, 1, 2, 3, 1, 4}, times[] = {7, 1, 30, 12};

template <class R>
void try_cells(unsigned& turn) {
  i64 went = 0;
  for (const std::string& cell : cells())
    for (const Steps steps : {Steps::last, Steps::all})
      for (int k = 0; k < 3; ++k, ++turn) {
        Case c = make(cell, batches[turn % 6], times[turn % 4], 1 + turn % 3, units[turn % 5], turn % 4, 0);
        c.count = k == 0 ? lanes<R>() : k == 1 ? lanes<R>() - 1 : 2 * lanes<R>() + 1;
        c.steps = steps;
        c.initial = turn % 3 == 1;
        c.net.learn_state = turn % 2;
        c.net.bias = turn % 7 != 0;
        c.net.layers = 1 + (turn % 5 == 0);
        if (c.net.outputs && turn % 6 == 0 && c.net.hidden > 1) c.net.read_units = {0, c.net.hidden - 1};
        c.views = turn % 4 == 3;
        went += compare<R>(c, turn);
      }
  CHECK(went > 0);
}

}  // namespace

TEST_CASE_TEMPLATE("networks of every cell make the same step together as alone", R, float, double) {
  unsigned turn = 0;
  for_backends([&](const std::string&) { try_cells<R>(turn); });
}

TEST_CASE_TEMPLATE("with every loss, reduction and weights", R, float, double) {
  unsigned turn = 0;
  for_backends([&](const std::string&) {
    for (const std::string& loss : losses())
      for (const Steps steps : {Steps::last, Steps::all})
        for (const bool weighted : {false, true}) {
          const i64 each = Loss(loss).outputs_per_target();
          Case c = make("gru", batches[turn % 6], 9, 2, units[turn % 5], 2 * each, lanes<R>() + 3);
          c.loss = loss;
          c.steps = steps;
          c.weights = weighted;
          c.step_weights = weighted && steps == Steps::all && turn % 2;
          c.reduction = Reduction(turn % 3);
          c.penalties = turn % 2;
          ++turn;
          compare<R>(c, turn);
        }
  });
}

TEST_CASE_TEMPLATE("several losses, optimisers, clipping", R, float, double) {
  unsigned turn = 0;
  for_backends([&](const std::string&) {
    for (int rule = 0; rule < active().optimizers; ++rule) {
      Case c = make("lstm", 2, 9, 2, 4, 3, lanes<R>());
      c.rule = active().optimizers_f32[rule].name;
      c.blocks = true;
      compare<R>(c, ++turn);
      c.clip_norm = 0.01;
      compare<R>(c, ++turn);
      c.clip_norm = -1;
      c.clip_value = 0.001;
      c.penalties = true;
      compare<R>(c, ++turn);
    }
  });
}

TEST_CASE_TEMPLATE("many blocks of time", R, float, double) {
  for_backends([&](const std::string&) {
    for (const i64 B : {1, 3, 4})
      for (const Steps steps : {Steps::last, Steps::all}) {
        Case c = make("rnn", B, 1100, 1, 3, 1, lanes<R>());
        c.steps = steps;
        compare<R>(c, unsigned(B), 1);
      }
  });
}

// At most 60: the thread sanitizer follows 64 locks
TEST_CASE("networks of several kinds in one call") {
  Case a = make("gru", 1, 7, 2, 5, 1, 15), b = make("rnn", 1, 7, 2, 5, 1, 15), c = make("gru", 1, 8, 2, 5, 1, 15);
  Networks<float> na(a, 1), nb(b, 2), nc(c, 3), oa(a, 1), ob(b, 2), oc(c, 3);
  Networks<double> nd(a, 4), od(a, 4);
  std::vector<TrainingStep> all;
  for (i64 i = 0; i < a.count; ++i)
    for (const TrainingStep& step : {na[i].step(), nb[i].step(), nc[i].step(), nd[i].step()}) all.push_back(step);
  train_together(all);
  for (i64 i = 0; i < a.count; ++i) {
    const auto check = [&](auto& one, auto& other, std::size_t place) {
      CHECK(one.engine->train_step(one.batch, one.objective, one.update) == all[place].loss);
      CHECK(one.same(other));
    };
    check(oa[i], na[i], at(4 * i));
    check(ob[i], nb[i], at(4 * i + 1));
    check(oc[i], nc[i], at(4 * i + 2));
    check(od[i], nd[i], at(4 * i + 3));
  }
}

TEST_CASE("an error in one network is its own") {
  for_backends([&](const std::string&) {
    Case c = make("gru", 2, 9, 2, 5, 3, 16);
    c.loss = "cross_entropy";
    c.weights = true;
    Networks<float> alone(c, 1), together(c, 1);
    const auto spoil = [](Networks<float>& n) {
      n[1].x[5] = NAN;
      n[3].classes[7] = 3;
      n[5].params[2] = INFINITY;
      n[7].weights.assign(n[7].weights.size(), 0.0);
      n[9].weights[1] = -1;
      for (float& p : n[11].params) p = 3e38f;  // the loss overflows
      n[13].optimizer.set("lr", 1e39);
      n[14].update.clip = {.value = 1, .norm = 1};
      n[15].x[0] = NAN;
      n[15].batch.check_finite = false;
    };
    spoil(alone);
    spoil(together);
    std::vector<TrainingStep> all = together.steps();
    train_together(all);
    for (i64 i = 0; i < c.count; ++i) {
      CAPTURE(i);
      std::string expected, got;
      try {
        alone[i].engine->train_step(alone[i].batch, alone[i].objective, alone[i].update);
      } catch (const std::exception& e) {
        expected = e.what();
      }
      try {
        if (all[at(i)].error) std::rethrow_exception(all[at(i)].error);
      } catch (const std::exception& e) {
        got = e.what();
      }
      CHECK(expected == got);
      CHECK((got == "") == (i % 2 == 0 ? i != 14 : i == 15));
      if (i != 15)
        CHECK(alone[i].same(together[i]));
      else  // its numbers that are not finite may have other bits
        for (std::size_t k = 0; k < alone[i].params.size(); ++k)
          CHECK(std::isnan(alone[i].params[k]) == std::isnan(together[i].params[k]));
    }
  });
}

TEST_CASE("a network or an optimiser twice is refused") {
  Case c = make("rnn", 1, 3, 1, 2, 1, 2);
  Networks<float> n(c, 1);
  std::vector<TrainingStep> all = n.steps();
  all.push_back(n[0].step());
  CHECK_THROWS_AS(train_together(all), ArgumentError);
  all = n.steps();
  all[1].update = all[0].update;
  CHECK_THROWS_AS(train_together(all), ArgumentError);
}

TEST_CASE("calls beside each other, and any number of threads") {
  const int before = get_num_threads();
  Case c = make("gru", 2, 200, 3, 12, 2, 50);
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    compare<float>(c, 1, 1);
  }
  set_num_threads(before);
  Networks<float> n(make("gru", 1, 20, 3, 5, 2, 20), 1);
  std::vector<TrainingStep> steps = n.steps(), reversed(steps.rbegin(), steps.rend());
  std::thread other([&] {
    for (int i = 0; i < 20; ++i) train_together(reversed);
  });
  for (int i = 0; i < 20; ++i) train_together(steps);
  for (int i = 0; i < 20; ++i) n[i].engine->loss(n[i].batch, n[i].objective);
  other.join();
  for (i64 i = 0; i < 20; ++i) CHECK(n[i].optimizer.step == 40);
}
