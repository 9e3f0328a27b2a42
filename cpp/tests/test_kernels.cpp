// Each function of each instruction set's table, at every length from 0 to two vectors plus one, at every alignment,
// with NaN around what it may read and marks around what it may write.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "engine/arguments.h"
#include "engine.h"
#include "kernel_arrays.h"
#include "naive.h"

using namespace fastbptt;
using kernel_arrays::close_to;
using kernel_arrays::Fenced;
using kernel_arrays::for_lengths;
using kernel_arrays::for_places;
using kernel_arrays::Panels;
using kernel_arrays::set_of;
using kernel_arrays::value;
using naive::at;

TEST_CASE_TEMPLATE("tanh", T, float, double) {
  for_lengths<T>([](const Kernels<T>& k, i64 n, i64 off, const std::string& name) {
    Fenced<T> in(n, off, NAN), out(n, 3 - off, T(7));
    for (i64 i = 0; i < n; ++i) in[i] = 5 * value<T>(i);
    k.tanh(in.data(), out.data(), n);
    for (i64 i = 0; i < n; ++i)
      CHECK_MESSAGE(std::fabs(out[i] - std::tanh(in[i])) <= 4 * std::numeric_limits<T>::epsilon(), name);
    CHECK_MESSAGE(out.fences_stand(), name);
  });
}

// FASTBPTT_TEST_FLOATS=all: all 2^31 positive floats; else every 4096th. The negative ones are their mirror.
TEST_CASE("tanh in float is within 2 units in the last place, everywhere") {
  const std::uint32_t step = calls::thorough() ? 1 : 4096, block = 1U << 16, infinity = 0x7f800000;
  std::vector<float> in(block), out(block), mirrored(block), negative(block);
  std::vector<double> exact(block), unit(block);
  std::vector<double> powers;  // of two, from the smallest float to 1: frexp and ldexp take longer than all kernels
  for (int k = -149; k <= 0; ++k) powers.push_back(std::ldexp(1.0, k));
  std::map<std::string, double> worst;
  for (std::uint32_t first = 0; first <= infinity; first += block * step) {
    for (std::uint32_t i = 0; i < block; ++i) {
      const std::uint32_t code = std::min(first + i * step, infinity);
      std::memcpy(&in[i], &code, sizeof code);
      negative[i] = -in[i];
      exact[i] = std::tanh(double(in[i]));
      std::uint64_t bits = 0;
      std::memcpy(&bits, &exact[i], sizeof bits);
      unit[i] = powers[at(std::max(i64(bits >> 52) - 1022 - 24, i64(-149)) + 149)];
    }
    for (const Backend& b : backends()) {
      if (!b.usable) continue;
      const auto tanh = kernels_of<float>(*b.set).tanh;
      tanh(in.data(), out.data(), block);
      tanh(negative.data(), mirrored.data(), block);
      double& most = worst[b.name];
      bool odd = true;
      for (std::uint32_t i = 0; i < block; ++i) {
        const double error = std::fabs(double(out[i]) - exact[i]) / unit[i];
        most = std::max(most, std::isnan(error) ? HUGE_VAL : error);
        odd &= mirrored[i] == -out[i];
      }
      CHECK_MESSAGE(odd, b.name);
    }
  }
  for (const auto& [name, error] : worst) {
    MESSAGE(name, ": ", error, " units");
    CHECK(error <= 2);
  }
}

TEST_CASE_TEMPLATE("copy with conversion, and the search for what is not finite", T, float, double) {
  for_lengths<T>([](const Kernels<T>& k, i64 n, i64 off, const std::string& name) {
    for (const i64 stride : {1, 2, -1}) {
      const i64 span = n ? (n - 1) * std::abs(stride) + 1 : 0;
      Fenced<float> f32(span, off, NAN);
      Fenced<double> f64(span, off, NAN);
      Fenced<T> out(n, 3 - off, T(7));
      const i64 start = stride < 0 ? span - 1 : 0;
      for (i64 i = 0; i < n; ++i) f32[start + i * stride] = float(f64[start + i * stride] = double(value<float>(i)));
      CHECK_MESSAGE(k.copy_f32(f32.data() + start, stride, n, out.data()), name);
      for (i64 i = 0; i < n; ++i) CHECK_MESSAGE(out[i] == T(value<float>(i)), name);
      std::fill_n(out.data(), n, T(0));
      CHECK_MESSAGE(k.copy_f64(f64.data() + start, stride, n, out.data()), name);
      for (i64 i = 0; i < n; ++i) CHECK_MESSAGE(out[i] == T(value<float>(i)), name);
      CHECK_MESSAGE(out.fences_stand(), name);
      for (i64 bad = 0; bad < n; ++bad) {
        const float kept = f32[start + bad * stride];
        for (const float v : {NAN, HUGE_VALF, -HUGE_VALF}) {
          f32[start + bad * stride] = v;
          f64[start + bad * stride] = v;
          CHECK_MESSAGE(!k.copy_f32(f32.data() + start, stride, n, out.data()), name);
          CHECK_MESSAGE(!k.copy_f64(f64.data() + start, stride, n, out.data()), name);
        }
        f32[start + bad * stride] = kept;
        f64[start + bad * stride] = kept;
      }
    }
  });
}

TEST_CASE_TEMPLATE("finite, zero and the sum of squares", T, float, double) {
  for_lengths<T>([](const Kernels<T>& k, i64 n, i64 off, const std::string& name) {
    Fenced<T> in(n, off, NAN);
    double squares = 0;
    for (i64 i = 0; i < n; ++i) {
      in[i] = value<T>(i);
      squares += double(in[i]) * double(in[i]);
    }
    CHECK_MESSAGE(k.finite(in.data(), n), name);
    CHECK_MESSAGE(k.zero(in.data(), n) == (n == 0), name);
    CHECK_MESSAGE(k.square_sum(in.data(), n) == doctest::Approx(squares).epsilon(1e-14), name);
    for (i64 bad = 0; bad < n; ++bad) {
      const T kept = in[bad];
      for (const T v : {T(NAN), T(HUGE_VAL), T(-HUGE_VAL)}) {
        in[bad] = v;
        CHECK_MESSAGE(!k.finite(in.data(), n), name);
      }
      in[bad] = kept;
    }
    std::fill_n(in.data(), n, T(0));
    CHECK_MESSAGE(k.zero(in.data(), n), name);
    for (i64 other = 0; other < n; ++other)
      for (const T v : {T(1), T(-0.5), T(NAN)}) {
        in[other] = v;
        CHECK_MESSAGE(!k.zero(in.data(), n), name);
        in[other] = T(-0.0);
      }
  });
}

TEST_CASE_TEMPLATE("magnitudes limited", T, float, double) {
  for_lengths<T>([](const Kernels<T>& k, i64 n, i64 off, const std::string& name) {
    Fenced<T> p(n, off, T(7));
    for (i64 i = 0; i < n; ++i) p[i] = i % 5 == 3 ? T(NAN) : i % 7 == 4 ? -T(HUGE_VAL) : value<T>(i);
    std::vector<T> before(p.data(), p.data() + n);
    k.limit(p.data(), n, T(0.5));
    for (i64 i = 0; i < n; ++i) {
      const T old = before[std::size_t(i)];
      CHECK_MESSAGE((std::isnan(old) ? std::isnan(p[i]) : p[i] == std::clamp(old, T(-0.5), T(0.5))), name);
    }
    CHECK_MESSAGE(p.fences_stand(), name);
  });
}

namespace {

// One rule with some settings; what it does to one parameter in double: p, slots, d the scaled gradient, t the step
struct Rule {
  const char* name;
  std::vector<std::pair<const char*, double>> settings;
  std::vector<const char*> slots;
  std::function<void(double& p, double* slot, double d, double t)> step;
};

std::vector<Rule> rules() {
  std::vector<Rule> all;
  for (const bool hat : {false, true})
    for (const bool amsgrad : {false, true})
      for (const double l2 : {0.0, 0.125})
        for (const bool decoupled : {false, true})
          all.push_back({"adam",
                         {{"lr", 0.01},
                          {"beta1", 0.9},
                          {"beta2", 0.99},
                          {"eps", 1e-3},
                          {"epsilon_hat", hat},
                          {"weight_decay", l2},
                          {"decoupled", decoupled}},
                         amsgrad ? std::vector{"m", "v", "v_max"} : std::vector{"m", "v"},
                         [=](double& p, double* s, double d, double t) {
                           const double c1 = 1 - std::pow(0.9, t), c2 = 1 - std::pow(0.99, t);
                           if (!decoupled) d += l2 * p;
                           s[0] = 0.9 * s[0] + 0.1 * d;
                           s[1] = 0.99 * s[1] + 0.01 * d * d;
                           s[2] = std::max(s[2], s[1]);
                           const double v = amsgrad ? s[2] : s[1];
                           if (decoupled) p -= 0.01 * l2 * p;
                           p -= hat ? 0.01 * std::sqrt(c2) / c1 * s[0] / (std::sqrt(v) + 1e-3)
                                    : 0.01 * s[0] / c1 / (std::sqrt(v / c2) + 1e-3);
                         }});
  for (const double l2 : {0.0, 0.125})
    for (const bool moves : {false, true})
      for (const bool nesterov : {false, true})
        all.push_back({"sgd",
                       {{"lr", 0.25}, {"momentum", 0.75}, {"nesterov", nesterov}, {"weight_decay", l2}},
                       moves ? std::vector{"velocity"} : std::vector<const char*>{},
                       [=](double& p, double* s, double d, double) {
                         d += l2 * p;
                         s[0] = 0.75 * s[0] + d;
                         p -= 0.25 * (!moves ? d : nesterov ? d + 0.75 * s[0] : s[0]);
                       }});
  for (const double l2 : {0.0, 0.125})
    for (const bool moves : {false, true})
      for (const bool centered : {false, true}) {
        std::vector<const char*> slots{"v"};
        if (centered) slots.push_back("m");
        if (moves) slots.push_back("velocity");
        all.push_back({"rmsprop",
                       {{"lr", 0.01}, {"alpha", 0.9}, {"eps", 1e-2}, {"momentum", 0.75}, {"weight_decay", l2}},
                       slots,
                       [=](double& p, double* s, double d, double) {
                         d += l2 * p;
                         s[0] = 0.9 * s[0] + 0.1 * d * d;
                         s[1] = 0.9 * s[1] + 0.1 * d;
                         d /= std::sqrt(std::max(0.0, s[0] - (centered ? s[1] * s[1] : 0))) + 1e-2;
                         s[2] = 0.75 * s[2] + d;
                         p -= 0.01 * (moves ? s[2] : d);
                       }});
      }
  return all;
}

}  // namespace

TEST_CASE("every rule of an optimiser is tested") {
  std::set<std::string> tested;
  for (const Rule& rule : rules()) tested.insert(rule.name);
  const std::vector<std::string> names = optimizer_names();
  CHECK(tested == std::set<std::string>(names.begin(), names.end()));
}

TEST_CASE_TEMPLATE("rules of optimisers", T, float, double) {
  const std::vector<Rule> all = rules();
  for_places([&](const InstructionSet& set, const std::string& backend) {
    for (const Rule& rule : all) {
      const OptimizerKernels<T>& k = optimizer_of<T>(set, find_optimizer(rule.name));
      OptimizerState state(rule.name);
      for (const auto& [name, number] : rule.settings) state.set(name, number);
      double numbers[OptimizerInfo::most_numbers] = {};
      k.resolve(state.settings, 3, numbers);
      const i64 vector = kernels_of<T>(set).vector;
      for (i64 n = 0; n <= 2 * vector + 1; ++n)
        for (const i64 off : {0, 1, 3}) {
          const std::string name = backend + " " + rule.name + " n " + std::to_string(n);
          Fenced<T> p(n, off, T(7)), g(n, 2, T(NAN));
          std::vector<Fenced<T>> slots;
          for (i64 s = 0; s < OptimizerInfo::most_slots; ++s) slots.emplace_back(n, (off + s) % 4, T(7));
          for (i64 i = 0; i < n; ++i) {
            p[i] = value<T>(i);
            g[i] = value<T>(i + 130);
            // mean, square and largest square, so that the variance is above 0
            for (i64 s = 0; s < OptimizerInfo::most_slots; ++s) slots[std::size_t(s)][i] = T(0.4) + value<T>(i) / 8;
          }
          UpdateArgs<T> a{};
          a.p = p.data();
          a.g = g.data();
          a.scale = T(0.5);
          for (int i = 0; i < OptimizerInfo::most_numbers; ++i) a.number[i] = T(numbers[i]);
          for (int s = 0; s < OptimizerInfo::most_slots; ++s) {
            const char* slot = k.info->slots[s];
            const auto there = [&](const char* one) { return slot && std::strcmp(one, slot) == 0; };
            if (std::any_of(rule.slots.begin(), rule.slots.end(), there)) a.slot[s] = slots[std::size_t(s)].data();
          }
          std::vector<double> p1, s1;
          for (i64 i = 0; i < n; ++i) {
            double one = double(p[i]), moments[OptimizerInfo::most_slots];
            for (int s = 0; s < OptimizerInfo::most_slots; ++s) moments[s] = double(slots[std::size_t(s)][i]);
            rule.step(one, moments, 0.5 * double(g[i]), 3);
            p1.push_back(one);
            s1.insert(s1.end(), moments, moments + OptimizerInfo::most_slots);
          }
          k.update(a, n);
          for (i64 i = 0; i < n; ++i) {
            CHECK_MESSAGE(close_to(p[i], p1[std::size_t(i)], 16), name, " ", i);
            for (int s = 0; s < OptimizerInfo::most_slots; ++s) {
              const double expected =
                  a.slot[s] ? s1[std::size_t(i * OptimizerInfo::most_slots + s)] : 0.4 + double(value<T>(i)) / 8;
              CHECK_MESSAGE(close_to(slots[std::size_t(s)][i], expected, 16), name, " slot ", s);
            }
          }
          CHECK_MESSAGE(p.fences_stand(), name);
          for (Fenced<T>& slot : slots) CHECK_MESSAGE(slot.fences_stand(), name);
        }
    }
  });
}

TEST_CASE_TEMPLATE("packing", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 n = k.panel;
    for (const i64 rows : {1, 3, 16, 17, 33})
      for (i64 real = 1; real <= n; ++real)
        for (const bool transposed : {false, true}) {
          const i64 ld = transposed ? rows + 5 : n + 3,
                    size = transposed ? (real - 1) * ld + rows : (rows - 1) * ld + real;
          Fenced<T> w(size, 1, NAN), out(rows * n, 2, T(7));
          for (i64 i = 0; i < rows; ++i)
            for (i64 j = 0; j < real; ++j) w[transposed ? j * ld + i : i * ld + j] = value<T>(i * n + j);
          k.pack(w.data(), ld, transposed, rows, real, out.data());
          bool right = true;
          for (i64 i = 0; i < rows; ++i)
            for (i64 j = 0; j < n; ++j) right &= out[i * n + j] == (j < real ? value<T>(i * n + j) : T(0));
          CHECK_MESSAGE(right, isa, " rows ", rows, " real ", real, " transposed ", transposed);
          CHECK(out.fences_stand());
        }
  });
}

TEST_CASE_TEMPLATE("weight gradients over runs of rows", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 n = k.panel, rows = 12;
    const std::vector<Run> runs{{0, 4, 3}, {5, 0, 1}, {7, 7, 5}};
    for (i64 columns = 1; columns <= 2 * k.tile_rows + 1; ++columns)
      for (i64 real = 1; real <= n; ++real)
        for (const bool add : {false, true}) {
          const i64 stride = columns + 2;
          Fenced<T> a(rows * stride, 1, NAN), g(rows * n, 2, NAN), c(columns * n, 3, T(7));
          for (i64 r = 0; r < rows; ++r) {
            for (i64 i = 0; i < columns; ++i) a[r * stride + i] = value<T>(r * 31 + i);
            for (i64 j = 0; j < n; ++j) g[r * n + j] = j < real ? value<T>(r * 17 + j) : T(0);
          }
          for (i64 i = 0; i < columns * n; ++i) c[i] = T(add ? 0.5 : NAN);
          k.weight_grad({a.data(), stride, columns, g.data(), real, runs.data(), i64(runs.size()), c.data(), add});
          double worst = 0;
          for (i64 i = 0; i < columns; ++i)
            for (i64 j = 0; j < real; ++j) {
              double expected = add ? 0.5 : 0;
              for (const Run& run : runs)
                for (i64 r = 0; r < run.count; ++r)
                  expected += double(a[(run.a + r) * stride + i]) * double(g[(run.g + r) * n + j]);
              const double d = std::fabs(double(c[i * n + j]) - expected);
              worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
            }
          CHECK_MESSAGE(worst < 16 * double(std::numeric_limits<T>::epsilon()), isa, " ", columns, " ", real, " ", add);
          CHECK(c.fences_stand());
        }
  });
}

TEST_CASE_TEMPLATE("a row times a matrix", T, float, double) {
  for_lengths<T>([](const Kernels<T>& k, i64 n, i64 off, const std::string& name) {
    for (const i64 columns : {n, 8 * i64(k.vector) + n, i64(3)}) {
      const i64 depth = columns == 3 ? n : 5, ld = columns + off;
      Fenced<T> a(depth, off, NAN), w(depth * ld, 3 - off, NAN), out(columns, off, T(7));
      for (i64 i = 0; i < depth; ++i) {
        a[i] = value<T>(i);
        for (i64 j = 0; j < columns; ++j) w[i * ld + j] = value<T>(i * 41 + j);
      }
      for (i64 j = 0; j < columns; ++j) out[j] = value<T>(j + 9);
      k.row_product(a.data(), depth, w.data(), ld, columns, out.data());
      for (i64 j = 0; j < columns; ++j) {
        double expected = double(value<T>(j + 9));
        for (i64 i = 0; i < depth; ++i) expected += double(a[i]) * double(w[i * ld + j]);
        CHECK_MESSAGE(close_to(out[j], expected, 32), name, " columns ", columns);
      }
      CHECK_MESSAGE(out.fences_stand(), name);
    }
  });
}

// y = h W^T + bias, or y = h, and its loss
TEST_CASE_TEMPLATE("outputs and losses", T, float, double) {
  for_lengths<T>([](const Kernels<T>& k, i64 hidden, i64 off, const std::string& name) {
    if (hidden == 0 || off > 1) return;
    const i64 n = k.panel, rows = 1 + hidden % 6, first = 2, panel = (rows + first) * n + 1;
    for (const i64 columns : {0, 1, 4, 5, 17})
      for (const std::string& loss : naive::losses()) {
        const i64 O = columns ? columns : hidden;
        const LossKernels<T>& kernels = loss_of<T>(set_of(k), find_loss(loss));
        const bool of_row = kernels.info->one_for == LossInfo::One::row;
        if (of_row && O == 1) continue;
        const T off_parameters[LossInfo::most_parameters] = {};
        Panels<T> h(k, rows + first, hidden, panel, off), w(k, O, hidden, O * n + 3, 1 - off);
        for (i64 j = 0; j < hidden; ++j) {
          for (i64 r = first; r < rows + first; ++r) h(r, j) = value<T>(r * 7 + j);
          for (i64 o = 0; o < O; ++o) w(o, j) = value<T>(o * 13 + j);
        }
        Fenced<T> y(rows * O, off, T(7)), dy(rows * O, 1 - off, T(7)), bias(O, 1, NAN);
        Fenced<T> targets(rows * O, 1, NAN), factor(rows * O, 2, NAN);
        Fenced<double> sum(rows * O, 3, 7);
        std::vector<std::int32_t> classes;
        for (i64 i = 0; i < rows * O; ++i) {
          if (i < O) bias[i] = value<T>(i + 70);
          targets[i] = std::fabs(value<T>(i + 90));
          const i64 row = i / O;
          factor[i] = T(0.5) + T(row);
          sum[i] = 1;
          if (i % O == 0) classes.push_back(std::int32_t(i * 5 / 3 % O));
        }
        Panels<T> dh(k, rows, hidden, rows * n, off);
        OutputArgs<T> o{};
        o.outputs = O;
        o.hidden = hidden;
        o.weights = columns ? w.data() : nullptr;
        o.weights_panel = O * n + 3;
        o.bias = bias.data();
        o.y = y.data();
        o.loss = &kernels;
        o.parameters = off_parameters;
        o.per_target = 1;
        o.targets = targets.data();
        o.classes = classes.data();
        o.factor = factor.data();
        o.loss_sum = sum.data();
        o.dy = dy.data();
        o.dh = columns ? nullptr : dh.data();
        o.dh_panel = rows * n;
        k.panels.outputs(o, h.data(), panel, first, 0, 0, rows);
        for (i64 r = 0; r < rows; ++r) {
          std::vector<double> z(std::size_t(O), 0.0), dz = z, t = z;
          double got = 0;
          for (i64 i = 0; i < O; ++i) {
            double& expected = z[std::size_t(i)];
            for (i64 j = 0; j < hidden && columns; ++j) expected += double(h(r + first, j)) * double(w(i, j));
            expected += columns ? double(bias[i]) : double(h(r + first, i));
            CHECK_MESSAGE(close_to(y[r * O + i], expected, 32), name, " outputs ", columns);
            t[std::size_t(i)] = double(targets[r * O + i]);
            if (!of_row || i == 0) got += double(factor[r * O]) * (sum[r * O + i] - 1);
          }
          const double expected =
              naive::step_loss(loss, z, t.data(), classes[std::size_t(r)], double(factor[r * O]), dz.data());
          CHECK_MESSAGE(close_to(T(got), expected, 256), name, " ", loss, " outputs ", columns);
          for (i64 i = 0; i < O; ++i) {
            CHECK_MESSAGE(close_to(dy[r * O + i], dz[std::size_t(i)], 64), name, " ", loss);
            if (!columns) CHECK_MESSAGE(dh(r, i) == dy[r * O + i], name);
          }
        }
        CHECK(y.fences_stand());
        CHECK(dy.fences_stand());
        CHECK(sum.fences_stand());
        CHECK(dh.fences_stand());
      }
  });
}

namespace {

i64 outputs_of(const LossInfo& info) { return info.list.name ? info.list.presets : info.outputs; }

// A row of O outputs: its loss, and dy
template <class T>
double loss_of_row(const LossKernels<T>& loss, std::vector<T> z, const std::vector<T>& t, std::int32_t label,
                   T* dy = nullptr) {
  const LossInfo& info = *loss.info;
  OutputArgs<T> o{};
  std::vector<T> parameters;
  for (const LossParameter& p : info.parameters) parameters.push_back(T(p.preset));
  if (info.list.name) parameters.assign(info.list.preset, info.list.preset + info.list.presets);
  o.parameters = parameters.data();
  o.per_target = outputs_of(info);
  const std::vector<T> factor(z.size(), T(1));
  std::vector<double> sum(z.size(), 0.0);
  o.outputs = i64(z.size());
  o.loss = &loss;
  o.y = z.data();
  o.targets = t.data();
  o.classes = &label;
  o.factor = factor.data();
  o.loss_sum = sum.data();
  o.dy = dy;
  loss.rows(o, 0, 0, 1);
  double total = 0;
  for (const double s : sum) total += s;
  return total;
}

}  // namespace

// Workers have any rows, and a loss without a gradient is the same loss
TEST_CASE_TEMPLATE("a loss has the same bits alone and among others, with and without its gradient", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    for (const std::string& name : loss_names()) {
      const LossKernels<T>& loss = loss_of<T>(set, find_loss(name));
      const i64 each = outputs_of(*loss.info), V = kernels_of<T>(set).vector;
      for (const i64 targets : {1, 2, 3, 5})
        for (const bool weighs : {false, true})
          for (i64 rows = 2; rows <= 2 * V + 1; ++rows) {
            const i64 O = targets * each, n = rows * O;
            if (loss.info->one_for == LossInfo::One::row && O == 1) continue;
            std::vector<T> parameters, y(at(n)), t(at(n)), factor(at(n)), together(at(n)), apart(at(n));
            for (const LossParameter& p : loss.info->parameters) parameters.push_back(T(p.preset));
            if (loss.info->list.name)
              parameters.assign(loss.info->list.preset, loss.info->list.preset + loss.info->list.presets);
            std::vector<std::int32_t> classes(at(rows));
            std::vector<double> sum(at(n), 0.25), alone = sum, forward = sum;
            for (i64 i = 0; i < n; ++i) {
              y[at(i)] = 2 * value<T>(i * 3);
              const double target = std::clamp(double(value<T>(i + 50)), loss.info->range.low, loss.info->range.high);
              t[at(i)] =
                  T(loss.info->two_values ? (target < 0 ? loss.info->range.low : loss.info->range.high) : target);
              factor[at(i)] = T(0.7) + T(i / O % 3);
              classes[at(i / O)] = std::int32_t(i % O);
            }
            OutputArgs<T> o{};
            o.outputs = O;
            o.loss = &loss;
            o.parameters = parameters.data();
            o.per_target = each;
            o.y = y.data();
            o.targets = t.data();
            o.classes = classes.data();
            o.factor = factor.data();
            o.each_factor = weighs;
            o.loss_sum = sum.data();
            o.dy = together.data();
            loss.rows(o, 0, 0, rows);
            o.loss_sum = alone.data();
            o.dy = apart.data();
            for (i64 r = 0; r < rows; ++r) loss.rows(o, r, r, 1);
            o.loss_sum = forward.data();
            o.dy = nullptr;
            loss.rows(o, 0, 0, rows);
            CHECK_MESSAGE(sum == alone, isa, " ", name, " ", rows, " rows of ", O);
            CHECK_MESSAGE(sum == forward, isa, " ", name, " ", rows, " rows of ", O);
            CHECK_MESSAGE(calls::same_bits(together, apart), isa, " ", name, " ", rows, " rows of ", O);
          }
    }
  });
}

// Each loss of the registry, known to naive.h or not
TEST_CASE("losses and their derivatives, against differences and in both types") {
  for_places([](const InstructionSet& set, const std::string& isa) {
    for (const std::string& name : loss_names()) {
      const LossKernels<double>& loss = loss_of<double>(set, find_loss(name));
      const LossKernels<float>& narrow = loss_of<float>(set, find_loss(name));
      const Interval& range = loss.info->range;
      for (const i64 targets : {2, 5, 16, 19})
        for (const double scale : {0.3, 1.0, 4.0}) {
          const i64 O = targets * outputs_of(*loss.info);
          std::vector<double> z, t, dy(at(O), NAN);
          for (i64 i = 0; i < O; ++i) {
            z.push_back(double(float(scale * value<double>(i * 5 + O))));
            const double target = std::fmin(std::fmax(value<double>(i + 60), range.low), range.high);
            t.push_back(loss.info->two_values ? (target < 0 ? range.low : range.high) : double(float(target)));
          }
          const auto label = std::int32_t(O / 2);
          const double whole = loss_of_row(loss, z, t, label, dy.data());
          CHECK(whole == loss_of_row(loss, z, t, label));
          for (i64 i = 0; i < O; ++i) {
            const double h = 1e-5;
            std::vector<double> up = z, down = z;
            up[at(i)] += h;
            down[at(i)] -= h;
            const double slope = (loss_of_row(loss, up, t, label) - loss_of_row(loss, down, t, label)) / (2 * h);
            CHECK_MESSAGE(std::fabs(slope - dy[at(i)]) < 1e-6 * std::fmax(1.0, std::fabs(slope)), isa, " ", name);
          }
          std::vector<float> dy_narrow(at(O), NAN);
          const double other =
              loss_of_row<float>(narrow, naive::cast<float>(z), naive::cast<float>(t), label, dy_narrow.data());
          CHECK_MESSAGE(close_to(float(other), whole, 64), isa, " ", name);
          for (i64 i = 0; i < O; ++i)
            CHECK_MESSAGE(close_to(dy_narrow[at(i)], dy[at(i)], 16), isa, " ", name, " ", dy_narrow[at(i)], " ",
                          dy[at(i)]);
        }
    }
  });
}

TEST_CASE("parameters of losses start at presets within their ranges, and stay within them") {
  CHECK_THROWS_WITH(Loss("mse").set("delta", 1), "loss has no parameter 'delta'; expected none");
  for (const std::string& name : loss_names()) {
    Loss loss(name);
    for (int i = 0; i < LossInfo::most_parameters && loss.info->parameters[i].name; ++i) {
      const LossParameter& p = loss.info->parameters[i];
      CHECK(loss.parameters[i] == p.preset);
      CHECK_FALSE(p.range.excludes(p.preset));
      CHECK_THROWS(loss.set(p.name, NAN));
      CHECK_THROWS(loss.set(p.name, HUGE_VAL));
      if (std::isfinite(p.range.low)) CHECK_THROWS(loss.set(p.name, p.range.low - (p.range.open ? 0 : 1)));
      if (std::isfinite(p.range.high)) CHECK_THROWS(loss.set(p.name, p.range.high + (p.range.open ? 0 : 1)));
      CHECK(loss.parameters[i] == p.preset);
      const double other = p.preset == 0 ? 0.5 : p.range.excludes(p.preset / 2) ? p.preset * 2 : p.preset / 2;
      loss.set(p.name, other);
      CHECK(loss.parameters[i] == other);
    }
    CHECK_THROWS(loss.set("none of these", 1));
    CHECK_THROWS(loss.set("none of these", std::vector<double>{1}));
    const LossList& list = loss.info->list;
    if (!list.name) continue;
    const std::vector<double> preset = loss.list;
    CHECK(loss.outputs_per_target() == list.presets);
    for (const std::vector<double>& wrong : {std::vector<double>{}, {list.range.low}, {NAN}, {0.5, 0.5}, {0.5, 0.25}})
      CHECK_THROWS(loss.set(list.name, wrong));
    CHECK(loss.list == preset);
    loss.set(list.name, {0.25, 0.5});
    CHECK(loss.outputs_per_target() == 2);
  }
}

TEST_CASE("intervals, and the words for them") {
  const Interval all{}, closed{.low = 0, .high = 1}, open{.low = 0, .high = 1, .open = true}, up{.low = 2},
      above{.low = 2, .open = true};
  CHECK_FALSE(all.excludes(-1e300));
  for (const double a : {0.0, 1.0}) {
    CHECK_FALSE(closed.excludes(a));
    CHECK(open.excludes(a));
  }
  for (const double a : {-0.5, 1.5}) {
    CHECK(closed.excludes(a));
    CHECK(open.excludes(a));
  }
  CHECK_FALSE(open.excludes(0.5));
  CHECK(text(closed) == "from 0 to 1");
  CHECK(text(open) == "above 0 and below 1");
  CHECK(text(up) == "from 2 up");
  CHECK(text(above) == "above 2");
}
