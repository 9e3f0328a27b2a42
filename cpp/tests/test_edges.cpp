// Arrays that end at a page that nobody may touch, or start after one: the kernels that test_kernels.cpp,
// test_cells.cpp and test_lanes.cpp leave out, and whole calls of the engine with all that their caller owns.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "engine/arguments.h"
#include "kernel_arrays.h"
#include "naive.h"
#include "guards/guards.h"

using namespace fastbptt;
using calls::EngineCall;
using kernel_arrays::Fenced;
using kernel_arrays::for_places;
using kernel_arrays::Place;
using kernel_arrays::same_bytes;
using kernel_arrays::value;
using naive::at;
using naive::NetworkCase;
using naive::Result;

namespace {

template <class A>
bool same_numbers(Fenced<A>& a, i64 from, Fenced<A>& b, i64 n) {
  return n == 0 || same_bytes(a.data() + from, b.data(), std::size_t(n));
}

}  // namespace

TEST_CASE("what lies beyond an array cannot be read") {
  for (const i64 n : {0, 1, 63, 64, 4096, 5000})
    for (const Place one : {Place::ends, Place::starts}) {
      kernel_arrays::place = one;
      Fenced<char> array(n, 0, 7);
      CHECK(guards::readable(array.data() + n) == (one == Place::starts || !guards::protects));
      CHECK(guards::readable(array.data() - 1) == (one == Place::ends || !guards::protects));
    }
  kernel_arrays::place = Place::within;
}

// Each loss of the registry, in rows that fill vectors or not; each row alone has the bits that it has among others
TEST_CASE_TEMPLATE("losses of rows at a page", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    for (const std::string& name : loss_names()) {
      const LossKernels<T>& loss = loss_of<T>(set, find_loss(name));
      const LossInfo& info = *loss.info;
      const i64 each = info.list.name ? info.list.presets : info.outputs, V = kernels_of<T>(set).vector;
      std::vector<T> numbers;
      for (const LossParameter& p : info.parameters) numbers.push_back(T(p.preset));
      if (info.list.name) numbers.assign(info.list.preset, info.list.preset + info.list.presets);
      const auto count = i64(numbers.size());
      Fenced<T> parameters(count, 0, T(NAN));
      std::copy(numbers.begin(), numbers.end(), parameters.data());
      for (i64 targets = 1; targets <= 2 * V + 1; targets += targets < 3 ? 1 : V / 2 + 1)
        for (i64 rows = 0; rows <= (targets == 1 ? 2 * V + 1 : 3); ++rows)
          for (const bool weighs : {false, true}) {
            const i64 O = targets * each, n = rows * O;
            if (info.one_for == LossInfo::One::row && O == 1) continue;
            // what is done to rows from one on, in arrays that hold no other ones
            struct Rows {
              Fenced<T> y, t, factor, dy;
              Fenced<std::int32_t> classes;
              Fenced<double> sum;
            };
            const auto done = [&](i64 first, i64 some, bool slopes) {
              const i64 own = some * O;
              Rows r{{own, 0, T(NAN)}, {own / each, 1, T(NAN)}, {own, 2, T(NAN)},
                     {own, 3, T(7)},   {some, 1, 1 << 20},      {own, 0, 7.0}};
              for (i64 i = 0; i < own; ++i) {
                const i64 whole = first * O + i;
                r.y[i] = 2 * value<T>(whole * 3);
                r.factor[i] = T(0.7) + T(whole / O % 3);
                r.sum[i] = 0.25;
                r.classes[i / O] = std::int32_t(first + i / O) % std::int32_t(O);
              }
              for (i64 i = 0; i < own / each; ++i) {
                const double a = double(value<T>(first * O / each + i + 50));
                const double target = std::clamp(a, info.range.low, info.range.high);
                r.t[i] = T(info.two_values ? (a < 0 ? info.range.low : info.range.high) : target);
              }
              OutputArgs<T> o{};
              o.outputs = O;
              o.loss = &loss;
              o.parameters = parameters.data();
              o.per_target = each;
              o.y = r.y.data();
              o.targets = r.t.data();
              o.classes = r.classes.data();
              o.factor = r.factor.data();
              o.each_factor = weighs;
              o.loss_sum = r.sum.data();
              o.dy = slopes ? r.dy.data() : nullptr;
              loss.rows(o, 0, 0, some);
              return r;
            };
            const std::string text = isa + " " + name + " rows " + std::to_string(rows) + " of " + std::to_string(O);
            Rows all = done(0, rows, true), silent = done(0, rows, false);
            CHECK_MESSAGE(same_numbers(all.sum, 0, silent.sum, n), text);
            for (Fenced<T>* one : {&all.dy, &silent.dy}) CHECK_MESSAGE(one->fences_stand(), text);
            for (Fenced<double>* one : {&all.sum, &silent.sum}) CHECK_MESSAGE(one->fences_stand(), text);
            for (i64 r = 0; r < rows; ++r) {
              Rows alone = done(r, 1, true);
              CHECK_MESSAGE(same_numbers(all.sum, r * O, alone.sum, O), text);
              CHECK_MESSAGE(same_numbers(all.dy, r * O, alone.dy, O), text);
            }
            for (i64 i = 0; i < n; ++i) CHECK_MESSAGE(std::isfinite(all.dy[i]), text);
          }
    }
  });
}

TEST_CASE_TEMPLATE("noise and zoneout of rows at a page", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    for (i64 rows = 0; rows <= 5; ++rows)
      for (int vectors = 1; vectors <= k.panel / k.vector; ++vectors) {
        const i64 columns = vectors * k.vector, n = rows ? (rows - 1) * k.panel + columns : 0;
        const std::string text = isa + " rows " + std::to_string(rows) + " vectors " + std::to_string(vectors);
        Fenced<std::uint64_t> base(rows, 0, 99);
        Fenced<T> unit(k.panel, 0, T(NAN));
        for (i64 r = 0; r < rows; ++r) base[r] = 0x9E3779B97F4A7C15u * std::uint64_t(r + 1);
        for (i64 j = 0; j < columns; ++j) unit[j] = T(j % 3);
        const auto fill = [&](Fenced<T>& to, i64 phase) {
          for (i64 i = 0; i < n; ++i) to[i] = i % k.panel < columns ? value<T>(i + phase) : T(NAN);
        };
        for (const bool scaled : {false, true}) {
          const NoiseArgs<T> noise{base.data(), 5, T(0.25), scaled ? unit.data() : nullptr, nullptr, nullptr};
          Fenced<T> to(n, 1, T(7)), apart(n, 2, T(7));
          fill(to, 0);
          fill(apart, 0);
          k.add_noise(noise, 3, 0, rows, 0, vectors, to.data());
          for (i64 r = 0; r < rows; ++r) {
            k.add_noise(noise, 3, r, 1, 0, vectors, apart.data() + r * k.panel);
            for (i64 j = 0; scaled && j < columns; j += 3)
              CHECK_MESSAGE(to[r * k.panel + j] == value<T>(r * k.panel + j), text);
          }
          CHECK_MESSAGE(same_numbers(to, 0, apart, n), text);
          CHECK_MESSAGE(to.fences_stand(), text);
        }
        for (const bool draws : {false, true})
          for (const int states : {1, 2}) {
            const ZoneArgs<T> zone{base.data(), 5, {T(0.25), T(0.5)}, draws, nullptr, nullptr};
            const i64 size = n ? (states - 1) * n + n : 0;
            Fenced<T> now(size, 1, T(7)), before(size, 2, T(NAN)), candidate(n, 3, T(7));
            for (i64 i = 0; i < size; ++i) {
              now[i] = i % n % k.panel < columns ? value<T>(i) : T(NAN);
              before[i] = i % n % k.panel < columns ? value<T>(i + 9) : T(NAN);
            }
            k.zone_forward(zone, 3, 0, rows, 0, vectors, states, n, now.data(), before.data(), candidate.data());
            for (i64 i = 0; i < size; ++i) {
              if (i % n % k.panel >= columns) continue;
              const T fresh = value<T>(i), old = value<T>(i + 9), share = zone.share[i / n];
              const bool mixed = kernel_arrays::close_to(now[i], double(share * old + (1 - share) * fresh), 4);
              CHECK_MESSAGE((draws ? now[i] == fresh || now[i] == old : mixed), text);
              if (i < n) CHECK_MESSAGE(candidate[i] == fresh, text);
            }
            CHECK_MESSAGE(now.fences_stand(), text);
            CHECK_MESSAGE(candidate.fences_stand(), text);
            Fenced<T> dh(n, 1, T(7)), carried(n, 2, T(7)), kept(size, 3, T(7));
            fill(dh, 20);
            fill(carried, 40);
            T* const carry[2] = {nullptr, carried.data()};
            k.zone_backward(zone, 3, 0, rows, 0, vectors, states, n, dh.data(), carry, kept.data());
            for (i64 i = 0; i < size; ++i) {
              if (i % n % k.panel >= columns) continue;
              const T whole = value<T>(i % n + (i < n ? 20 : 40)), rest = (i < n ? dh : carried)[i % n];
              CHECK_MESSAGE(kernel_arrays::close_to(kept[i] + rest, double(whole), 4), text);
            }
            for (Fenced<T>* one : {&dh, &carried, &kept}) CHECK_MESSAGE(one->fences_stand(), text);
          }
      }
  });
}

TEST_CASE_TEMPLATE("noise in lanes at a page", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 V = k.vector;
    for (i64 units = 1; units <= 2 * V + 1; ++units)
      for (const i64 groups : {1, 3}) {
        const i64 n = groups * units * V;
        Fenced<std::uint64_t> base(groups * V, 0, 99);
        for (i64 r = 0; r < groups * V; ++r) base[r] = 0x9E3779B97F4A7C15u * std::uint64_t(r + 1);
        Fenced<T> whole(n, 1, T(7)), alone(units * V, 2, T(7)), unit(units + units % 2, 3, T(NAN));
        for (i64 u = 0; u < units + units % 2; ++u) unit[u] = T(u % 3);
        for (i64 i = 0; i < n; ++i) whole[i] = value<T>(i);
        const NoiseArgs<T> noise{base.data(), 5, T(0.25), unit.data(), nullptr, nullptr};
        k.lanes->add_noise(noise, 3, 0, groups * V, units, whole.data());
        for (i64 g = 0; g < groups; ++g) {
          for (i64 i = 0; i < units * V; ++i) alone[i] = value<T>(g * units * V + i);
          k.lanes->add_noise(noise, 3, g * V, V, units, alone.data());
          CHECK_MESSAGE(same_numbers(whole, g * units * V, alone, units * V), isa, " units ", units);
        }
        CHECK_MESSAGE(whole.fences_stand(), isa, " units ", units);
      }
  });
}

TEST_CASE_TEMPLATE("columns into lanes at a page", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 V = k.vector;
    for (i64 real = 0; real <= V; ++real)
      for (i64 columns = 1; columns <= 4; ++columns)
        for (i64 steps = 1; steps * columns <= 2 * V + 1; ++steps) {
          const std::string text = isa + " " + std::to_string(real) + " " + std::to_string(steps * columns);
          const i64 numbers = steps * columns, step = (columns + 1) * V, bad = (real + numbers) % (V + 1);
          std::deque<Fenced<T>> rows;
          const T* from[most_lanes] = {};
          for (i64 v = 0; v < real; ++v) {
            rows.emplace_back(numbers, v % 3, T(NAN));
            for (i64 i = 0; i < numbers; ++i) rows.back()[i] = value<T>(v * 31 + i);
            if (v == bad) rows.back()[numbers - 1] = T(i64(columns) % 2 ? INFINITY : NAN);
            from[v] = rows.back().data();
          }
          Fenced<T> to((steps - 1) * step + columns * V, 0, T(7)), seen(V, 1, T(0));
          k.lanes->columns(from, numbers, columns, step, to.data(), seen.data());
          CHECK_MESSAGE((to.fences_stand() && seen.fences_stand()), text);
          bool right = true;
          for (i64 v = 0; v < V; ++v) {
            right &= (seen[v] == 0) == (v != bad || v >= real);
            for (i64 i = 0; i < numbers; ++i) {
              const T want = v < real ? rows[at(v)][i] : T(0);
              right &= same_bytes(&to[i / columns * step + i % columns * V + v], &want, 1);
            }
          }
          for (i64 i = 0; i + 1 < steps; ++i) right &= to[i * step + columns * V] == T(7);
          CHECK_MESSAGE(right, text);
        }
  });
}

TEST_CASE_TEMPLATE("panels unpacked, and roots of sums of squares, at a page", T, float, double) {
  for_places([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    for (const i64 rows : {1, 3, 16, 17, 33})
      for (i64 real = 1; real <= k.panel; ++real) {
        const i64 ld = rows + 5, size = (real - 1) * ld + rows;
        Fenced<T> panel(rows * k.panel, 1, T(NAN)), w(size, 2, T(7));
        for (i64 i = 0; i < rows; ++i)
          for (i64 j = 0; j < real; ++j) panel[i * k.panel + j] = value<T>(i * 50 + j);
        k.unpack_transposed(panel.data(), rows, real, w.data(), ld);
        bool right = w.fences_stand();
        for (i64 i = 0; i < size; ++i) right &= w[i] == (i % ld < rows ? value<T>(i % ld * 50 + i / ld) : T(7));
        CHECK_MESSAGE(right, isa, " rows ", rows, " real ", real);
      }
    for (i64 rows = 0; rows <= 5; ++rows)
      for (const i64 gap : {0, 3}) {
        const i64 stride = k.squares + gap, n = rows ? (rows - 1) * stride + k.squares : 0;
        Fenced<double> squares(n, 1, NAN);
        for (i64 i = 0; i < n; ++i)
          if (i % stride < k.squares) squares[i] = 1;
        const double lanes = double(k.squares) / (sizeof(T) == sizeof(double) ? 3 : 1);
        CHECK_MESSAGE(k.root(squares.data(), stride, rows) == doctest::Approx(std::sqrt(lanes * double(rows))), isa);
      }
  });
}

// ------------------------------------------------------------------------------------------------- calls of the engine

namespace {

// Copies of arrays, each at a page
class Copies {
 public:
  template <class A>
  A* of(const A* data, i64 n) {
    bytes_.emplace_back(n * i64(sizeof(A)), 0, char(-1));
    if (n) std::memcpy(bytes_.back().data(), data, std::size_t(n) * sizeof(A));
    return reinterpret_cast<A*>(bytes_.back().data());
  }
  template <class A>
  void move(const A*& data, i64 n) {
    if (data) data = of(data, n);
  }
  // A contiguous array
  void move(Array& a) {
    if (!a) return;
    i64 n = a.dtype == Dtype::f32 ? 4 : 8;
    for (const i64 length : a.shape) n *= std::max<i64>(length, 1);
    a.data = of(static_cast<const char*>(a.data), n);
  }
  bool stand() {
    return std::all_of(bytes_.begin(), bytes_.end(), [](Fenced<char>& one) { return one.fences_stand(); });
  }

 private:
  std::deque<Fenced<char>> bytes_;
};

// Sizes around those of vectors and panels, and of all options any
NetworkCase random_case(const std::string& cell, std::mt19937& random) {
  const auto below = [&](i64 n) { return i64(random() % std::uint32_t(n)); };
  const auto one_of = [&](std::initializer_list<i64> all) { return all.begin()[below(i64(all.size()))]; };
  NetworkCase c;
  c.net.cell = cell;
  c.net.inputs = one_of({1, 2, 3, 7, 16, 17});
  c.net.hidden = one_of({1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 65});
  c.net.outputs = one_of({0, 1, 2, 5, 17});
  c.net.layers = one_of({1, 1, 2});
  c.net.bidirectional = below(4) == 0;
  c.net.bias = below(8) != 0;
  c.net.learn_state = below(4) == 0;
  c.net.static_size = below(4) == 0 ? 3 : 0;
  if (below(4) == 0) c.net.vocabulary = 5;
  c.net.dropout = c.net.layers > 1 ? 0.3 : 0;
  c.drop = below(2) == 0;
  c.B = one_of({1, 2, 3, 5, 16, 17});
  c.T = one_of({1, 2, 5, 9});
  c.lengths = below(2) == 0;
  c.initial = below(3) == 0;
  c.weighted = below(3) == 0;
  c.loss = std::vector<std::string>{"mse", "bce", "cross_entropy"}[at(below(3))];
  if (c.loss == "cross_entropy" && c.net.output_width() == 1) c.loss = "bce";
  c.steps = below(2) ? Steps::all : Steps::last;
  c.seed = unsigned(random());
  naive::give_setting(c.net, 0.3);
  return c;
}

template <class R>
void check_calls(const NetworkCase& c, const std::string& isa) {
  const std::string name = isa + " " + calls::text(c);
  const naive::Data data = naive::make_data(c, parameter_count(c.net), cell_info(c.net.cell).states);
  EngineCall<R> plain(c, data), edged(c, data);
  const Spec& s = c.net;
  const i64 count = i64(plain.params().size());
  Copies copies;
  Batch& batch = edged.batch;
  for (Array* a :
       {&batch.x, &batch.static_inputs, &edged.objective.blocks[0].y, &edged.objective.blocks[0].sample_weight})
    copies.move(*a);
  for (Array& a : batch.initial) copies.move(a);
  copies.move(batch.lengths, c.B);
  R* const params = copies.of(plain.params().data(), count);
  const auto engine = make_engine(s, calls::dtype_of<R>, params);
  const auto same = [&](const std::vector<R>& expected, Fenced<R>& got) {
    CHECK_MESSAGE(same_bytes(got.data(), expected.data(), expected.size()), name);
    CHECK_MESSAGE(got.fences_stand(), name);
  };
  {
    const Result<R> expected = plain.loss_and_grad();
    Fenced<R> d_params(count, 0, R(7)), dx(i64(expected.x.size()), 0, R(7));
    Fenced<R> d0(i64(expected.initial[0].size()), 0, R(7)), d1(i64(expected.initial[1].size()), 0, R(7));
    GradientTargets to;
    to.parameters = d_params.data();
    if (!s.vocabulary) to.x = {dx.data(), c.T * s.inputs, s.inputs};
    Fenced<R>* const initial[] = {&d0, &d1};
    const CellInfo& info = cell_info(s.cell);
    for (int k = info.given; k < info.states; ++k) to.initial[k] = initial[k]->data();
    CHECK_MESSAGE(engine->loss_and_grad(batch, edged.objective, to, {}, 0) == expected.loss, name);
    same(expected.params, d_params);
    if (!s.vocabulary) same(expected.x, dx);
    for (int k = info.given; k < info.states; ++k) same(expected.initial[k], *initial[k]);
    CHECK_MESSAGE(engine->loss(batch, edged.objective) == plain.engine().loss(plain.batch, plain.objective), name);
  }
  {
    const Result<R> expected = plain.predict();
    Fenced<R> outputs(i64(expected.outputs.size()), 0, R(7)), last(i64(expected.last.size()), 0, R(7));
    Fenced<R> f0(i64(expected.final[0].size()), 0, R(7)), f1(i64(expected.final[1].size()), 0, R(7));
    Predictions to;
    to.outputs = {outputs.data(), c.T * s.output_width(), s.output_width()};
    to.one = last.data();
    Fenced<R>* const final[] = {&f0, &f1};
    for (int k = 0; k < cell_info(s.cell).states; ++k) to.final_state[k] = final[k]->data();
    engine->predict(batch, to);
    same(expected.outputs, outputs);
    same(expected.last, last);
    for (int k = 0; k < cell_info(s.cell).states; ++k) same(expected.final[k], *final[k]);
  }
  calls::AdamOf<R> adam(at(count)), own(at(count));
  own.state.attach("m", copies.of(own.m.data(), count));
  own.state.attach("v", copies.of(own.v.data(), count));
  const double loss = plain.engine().train_step(plain.batch, plain.objective, {&adam.state, {.norm = 1}}, {}, 0);
  CHECK_MESSAGE(engine->train_step(batch, edged.objective, {&own.state, {.norm = 1}}, {}, 0) == loss, name);
  CHECK_MESSAGE(same_bytes(params, plain.params().data(), at(count)), name);
  CHECK_MESSAGE(copies.stand(), name);
}

}  // namespace

TEST_CASE_TEMPLATE("calls whose arrays stand at a page have the bits of others", R, float, double) {
  std::mt19937 random(7);
  std::size_t turn = 0;
  for (const std::string& cell : cell_names())
    for (int n = 0; n < (calls::full_grid() ? 300 : 12); ++n, ++turn) {
      const NetworkCase c = random_case(cell, random);
      calls::for_backends_in_turns(turn, [&](const std::string& isa) {
        for (const Place one : {Place::ends, Place::starts}) {
          kernel_arrays::place = one;
          check_calls<R>(c, isa);
        }
        kernel_arrays::place = Place::within;
      });
    }
}
