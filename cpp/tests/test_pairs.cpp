// Operands as pairs of bfloat16: the kernels that make and multiply them, and whole networks with odd sizes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "dispatch.h"
#include "engine.h"
#include "naive.h"
#include "thread_pool.h"

using namespace fastbptt;

namespace {

// between -1 and 1, with no pattern that would make sums cancel
float value(i64 i) {
  auto z = (static_cast<std::uint64_t>(i) + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  return float(double((z ^ (z >> 27)) >> 11) * 0x1p-52 - 1);
}

// to the nearest bfloat16, ties to even
float rounded(float a) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &a, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000U;
  std::memcpy(&a, &bits, sizeof bits);
  return a;
}

float half(Pair a, bool second) {
  const std::uint32_t bits = second ? a & 0xffff0000U : a << 16;
  float out = 0;
  std::memcpy(&out, &bits, sizeof bits);
  return out;
}

std::vector<const InstructionSet*> sets() {
  std::vector<const InstructionSet*> all;
  for (const Backend& b : backends())
    if (b.usable && b.set->f32->pair_rows) all.push_back(b.set);
  return all;
}

struct Result {
  double loss;
  std::vector<float> gradient, dx;
};

Result run(const Spec& spec, i64 batch, i64 time, bool ragged) {
  std::vector<float> params(std::size_t(parameter_count(spec))), x(std::size_t(batch * time * spec.inputs)),
      y(std::size_t(batch * time * spec.output_width()));
  for (std::size_t i = 0; i < params.size(); ++i)
    params[i] = value(i64(i)) / float(std::sqrt(double(std::max(spec.inputs, spec.hidden))));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = value(i64(i) + 1000000);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = value(i64(i) + 2000000);
  std::vector<i64> lengths;
  for (i64 b = 0; b < batch; ++b) lengths.push_back(b == 1 ? time : 1 + (5 * b) % time);
  const auto array = [&](const std::vector<float>& a, i64 columns) {
    Array out;
    out.data = a.data();
    const i64 shape[3] = {batch, time, columns};
    for (int i = 0; i < 3; ++i) out.shape[i] = shape[i];
    out.strides[2] = 4;
    out.strides[1] = 4 * columns;
    out.strides[0] = 4 * columns * time;
    return out;
  };
  Batch given;
  given.x = array(x, spec.inputs);
  if (ragged) given.lengths = lengths.data();
  const Loss loss("mse");
  Objective objective;
  objective.steps = Steps::all;
  objective.blocks = {{.loss = &loss, .y = array(y, spec.output_width())}};
  Result result{0, std::vector<float>(params.size()), std::vector<float>(x.size())};
  GradientTargets out;
  out.parameters = result.gradient.data();
  out.x = {result.dx.data(), time * spec.inputs, spec.inputs};
  result.loss = make_engine(spec, Dtype::f32, params.data())->loss_and_grad(given, objective, out);
  return result;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - double(b[i]), 2);
    size += std::pow(double(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace

TEST_CASE("pairs of two rows, in place too") {
  for (const InstructionSet* set : sets()) {
    const Kernels<float>& k = *set->f32;
    for (i64 n = 1; n <= k.panel; ++n) {
      const i64 whole = (n + k.vector - 1) / k.vector * k.vector;
      for (const bool odd : {false, true}) {
        std::vector<float> rows;
        for (i64 j = 0; j < 2 * whole; ++j) rows.push_back(value(j) * float(std::pow(10.0, double(j % 60) - 30)));
        rows[0] = 1 + 0x1p-8F;  // a tie
        std::vector<Pair> out(std::size_t(whole), 7);
        const std::vector<float> given = rows;
        k.pair_rows(rows.data(), odd ? nullptr : rows.data() + whole, n, out.data());
        for (i64 j = 0; j < n; ++j) {
          CHECK(half(out[std::size_t(j)], false) == rounded(given[std::size_t(j)]));
          CHECK(half(out[std::size_t(j)], true) == (odd ? 0.0F : rounded(given[std::size_t(whole + j)])));
        }
        k.pair_rows(rows.data(), odd ? nullptr : rows.data() + whole, n, reinterpret_cast<Pair*>(rows.data()));
        CHECK(std::memcmp(rows.data(), out.data(), std::size_t(n) * sizeof(Pair)) == 0);
      }
    }
  }
}

TEST_CASE("weight gradients of pairs") {
  for (const InstructionSet* set : sets()) {
    const Kernels<float>& k = *set->f32;
    const i64 n = k.panel;
    for (const i64 rows : {1, 2, 7})
      for (i64 columns = 1; columns <= 2 * k.tile_rows + 1; ++columns)
        for (i64 real = 1; real <= n; real += 5) {
          const i64 pairs = (rows + 1) / 2, whole = (columns + k.vector - 1) / k.vector * k.vector;
          std::vector<float> a(std::size_t(rows * whole)), g(std::size_t(rows * n)), c(std::size_t(columns * n), 0.5F);
          for (std::size_t i = 0; i < a.size(); ++i) a[i] = value(i64(i));
          for (std::size_t i = 0; i < g.size(); ++i) g[i] = value(i64(i) + 1000000);
          std::vector<Pair> pa(std::size_t(pairs * whole)), pg(std::size_t(pairs * n));
          for (i64 p = 0; p < pairs; ++p) {
            const bool last = 2 * p + 1 == rows;
            k.pair_rows(a.data() + 2 * p * whole, last ? nullptr : a.data() + (2 * p + 1) * whole, columns,
                        pa.data() + p * whole);
            k.pair_rows(g.data() + 2 * p * n, last ? nullptr : g.data() + (2 * p + 1) * n, real, pg.data() + p * n);
          }
          const Run run{0, 0, pairs};
          k.weight_grad_pairs({pa.data(), whole, columns, pg.data(), real, &run, 1, c.data(), true});
          double worst = 0;
          for (i64 i = 0; i < columns; ++i)
            for (i64 j = 0; j < real; ++j) {
              double expected = 0.5;
              for (i64 r = 0; r < rows; ++r)
                expected += double(rounded(a[std::size_t(r * whole + i)])) * double(rounded(g[std::size_t(r * n + j)]));
              worst = std::max(worst, std::fabs(double(c[std::size_t(i * n + j)]) - expected));
            }
          CHECK_MESSAGE(worst < 2e-6, rows, " ", columns, " ", real);
        }
  }
}

TEST_CASE("networks of odd sizes are near those in float32, with the same bits for any number of threads") {
  if (sets().empty()) return;
  const std::string before = active().name;
  use(sets()[0]->name);
  for (const std::string& cell : naive::structure_names())
    for (const i64 layers : {1, 2})
      for (const bool both : {false, true})
        for (const bool ragged : {false, true}) {
          Spec spec;
          spec.cell = cell;
          spec.inputs = layers == 1 ? 5 : 131;
          spec.hidden = layers == 1 ? 67 : 9;
          spec.outputs = both ? 3 : 0;
          spec.layers = layers;
          spec.bidirectional = both;
          naive::give_setting(spec, 0.3);
          const Result expected = run(spec, 13, 11, ragged);
          spec.bfloat16 = true;
          const Result found = run(spec, 13, 11, ragged);
          const std::string name =
              cell + " " + std::to_string(layers) + (both ? " both" : "") + (ragged ? " ragged" : "");
          const double bound = cell == "relu" ? 0.3 : 0.02;
          CHECK_MESSAGE(std::fabs(found.loss - expected.loss) < 0.01 * expected.loss, name);
          CHECK_MESSAGE(distance(found.gradient, expected.gradient) < bound, name);
          CHECK_MESSAGE(distance(found.dx, expected.dx) < bound, name);
          CHECK_MESSAGE(distance(found.gradient, expected.gradient) > 1e-6, name);
          const int threads = get_num_threads();
          for (const int n : {1, 3}) {
            set_num_threads(n);
            const Result again = run(spec, 13, 11, ragged);
            CHECK_MESSAGE(again.gradient == found.gradient, name);
            CHECK_MESSAGE(again.dx == found.dx, name);
          }
          set_num_threads(threads);
        }
  use(before);
}

TEST_CASE("bfloat16 is refused where it cannot be") {
  Spec spec;
  spec.cell = "rnn";
  spec.inputs = spec.hidden = 3;
  spec.bfloat16 = true;
  std::vector<double> params(std::size_t(parameter_count(spec)));
  CHECK_THROWS_AS(make_engine(spec, Dtype::f64, params.data()), std::invalid_argument);
  const std::string before = active().name;
  use("portable");
  CHECK_THROWS_AS(run(spec, 2, 3, false), std::invalid_argument);
  use(before);
}
