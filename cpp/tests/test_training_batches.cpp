// Many steps in a row are the steps that single calls make, to the bit.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>

#include "calls.h"
#include "errors.h"
#include "training_batches.h"

using namespace fastbptt;

namespace {

constexpr i64 n = 7, time_steps = 4, inputs = 3;

// Sequences of numbers of type U, all steps or the first `lengths` of each
template <class U>
struct Numbers {
  Numbers(i64 columns, bool steps, const std::vector<i64>& lengths = {})
      : values(static_cast<std::size_t>(n * (steps ? time_steps : 1) * columns)), all(sizeof(U), columns) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<U>((i * 37 + 11) % 23);
    const i64 size = sizeof(U), own = steps ? time_steps : 1;
    for (i64 i = 0; i < n; ++i)
      all.add(values.data() + i * own * columns, lengths.empty() ? own : lengths[static_cast<std::size_t>(i)],
              columns * size, size);
  }
  std::vector<U> values;
  StridedSequences all;
};

// A network, an optimiser and a loss at all steps
struct Network {
  explicit Network(bool drop) {
    spec.cell = "gru";
    spec.inputs = inputs;
    spec.hidden = 3;
    spec.outputs = 2;
    spec.layers = 2;
    spec.dropout = drop ? 0.3 : 0;
    weights.resize(static_cast<std::size_t>(parameter_count(spec)));
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.1 * double((i * 7) % 11) - 0.5;
    engine = make_engine(spec, Dtype::f64, weights.data());
    adam = std::make_unique<calls::AdamOf<double>>(weights.size());
    objective.blocks = {{.loss = &loss}};
    objective.steps = Steps::all;
  }
  Spec spec;
  std::vector<double> weights;
  Loss loss{"mse"};
  Objective objective;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<calls::AdamOf<double>> adam;
};

TrainingData data_of(const Network& run, const StridedSequences& x, Element element, const StridedSequences& y,
                     const std::vector<i64>& lengths) {
  TrainingData data;
  data.x = {x, element, Dtype::f64, 3, 0};
  data.blocks.emplace_back();
  data.blocks[0].y = {y, Element::f64, Dtype::f64, 3, 0};
  data.lengths = lengths;
  data.time = time_steps;
  data.objective = run.objective;
  return data;
}

template <class U>
void check(Element element, bool drop, const std::vector<i64>& lengths) {
  const Numbers<U> x(inputs, true, lengths);
  const Numbers<double> y(2, true, lengths);
  const std::vector<i64> rows = {4, 0, 6, 1, 2, 5, 3}, starts = {3, 0, 6};
  const std::vector<double> rates = {0.1, 0.01, 0.2};
  Network many(drop), single(drop);

  TrainingData data = data_of(many, x.all, element, y.all, lengths);
  std::vector<double> losses(3);
  TrainingCourse course{.rows = rows.data(), .sequences = n, .starts = starts.data(), .batches = 3, .size = 3};
  course.seconds = 1e9;
  course.rates = rates.data();
  course.seed = 99;
  course.draw = drop ? 5 : 0;
  course.losses = losses.data();
  i64 done = -1;
  train_on_batches(*many.engine, data, {&many.adam->state, {}}, course, done);
  CHECK(done == 3);

  for (std::size_t k = 0; k < starts.size(); ++k) {
    std::vector<double> some_x, some_y;
    std::vector<i64> own;
    i64 longest = lengths.empty() ? time_steps : 0;
    const i64 end = std::min(starts[k] + 3, n);
    for (i64 i = starts[k]; i < end && !lengths.empty(); ++i) {
      own.push_back(lengths[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])]);
      longest = std::max(longest, own.back());
    }
    for (i64 i = starts[k]; i < end; ++i)
      for (i64 t = 0; t < longest; ++t) {
        const auto at = static_cast<std::size_t>(rows[static_cast<std::size_t>(i)] * time_steps + t);
        for (std::size_t c = 0; c < 3; ++c) some_x.push_back(double(x.values[at * 3 + c]));
        for (std::size_t c = 0; c < 2; ++c) some_y.push_back(y.values[at * 2 + c]);
      }
    Batch batch;
    batch.x = calls::array(some_x.data(), Dtype::f64, end - starts[k], longest, inputs);
    batch.lengths = own.empty() ? nullptr : own.data();
    batch.drop = batch.noise = drop;
    std::uint64_t z = 99 + (5 + k) * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    batch.dropout_seed = batch.noise_seed = z ^ (z >> 31);
    single.objective.blocks[0].y = calls::array(some_y.data(), Dtype::f64, end - starts[k], longest, 2);
    single.adam->state.set("lr", rates[k]);
    CHECK(single.engine->train_step(batch, single.objective, {&single.adam->state, {}}) == losses[k]);
  }
  CHECK(many.weights == single.weights);
}

}  // namespace

TEST_CASE("steps on batches are those of single calls") {
  for (const bool drop : {false, true})
    for (const std::vector<i64>& lengths : {std::vector<i64>{}, std::vector<i64>{4, 1, 3, 2, 2, 1, 4}}) {
      check<double>(Element::f64, drop, lengths);
      check<float>(Element::f32, drop, lengths);
      check<std::int8_t>(Element::i8, drop, lengths);
      check<std::uint16_t>(Element::u16, drop, lengths);
      check<i64>(Element::i64, drop, lengths);
      check<std::uint64_t>(Element::u64, drop, lengths);
    }
}

TEST_CASE("no further batch begins when the time is over, nor after an error") {
  const Numbers<double> x(inputs, true), y(2, true);
  std::vector<i64> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<double> losses(4);
  Network run(false);
  TrainingData data = data_of(run, x.all, Element::f64, y.all, {});
  const i64 starts[] = {0, 2, 4, 6};
  TrainingCourse course{.rows = rows.data(), .sequences = n, .starts = starts, .batches = 4, .size = 2};
  course.losses = losses.data();
  i64 done = -1;
  train_on_batches(*run.engine, data, {&run.adam->state, {}}, course, done);
  CHECK(done == 1);
  CHECK(run.adam->state.step == 1);
  course.seconds = 1e9;
  rows[5] = n;  // not there
  CHECK_THROWS_AS(train_on_batches(*run.engine, data, {&run.adam->state, {}}, course, done), ArgumentError);
  CHECK(done == 2);
  CHECK(run.adam->state.step == 3);
}
