// Each cell of each instruction set by itself: its element-wise parts, its steps forward and backward through the
// kernels, and how exact its sigmoid is.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "kernel_arrays.h"
#include "naive.h"

using namespace fastbptt;
using kernel_arrays::close_to;
using kernel_arrays::Fenced;
using kernel_arrays::for_places;
using kernel_arrays::Panels;
using kernel_arrays::value;
using naive::at;

namespace {

// f(kernels, cell, name) for each cell that naive.h knows
template <class T, class F>
void for_cells(const F& f) {
  for_places([&](const InstructionSet& set, const std::string& name) {
    for (const naive::Kind& kind : naive::kinds()) {
      const CellKernels<T>& cell = cell_of<T>(set, find_cell(kind.name));
      f(kernels_of<T>(set), cell, name + " " + kind.name);
    }
  });
}

// Planes of rows of one panel: NaN but in the first `columns` columns
template <class T>
class Matrices {
 public:
  Matrices(const Kernels<T>& k, int saved, i64 rows, i64 columns, i64 off)
      : n_(k.panel), saved_(saved), rows_(rows), columns_(columns), values_(saved * stride(), off, T(NAN)) {}
  i64 stride() const { return rows_ * n_ + 5; }
  T* data() { return values_.data(); }
  // element i, row by row, of the columns in use
  T& operator()(int which, i64 i) { return values_[which * stride() + i / columns_ * n_ + i % columns_]; }
  bool fences_stand() {
    i64 inside = 0, nan = 0;
    for (i64 i = 0; i < saved_ * stride(); ++i) nan += std::isnan(values_[i]);
    inside = saved_ * rows_ * columns_;
    return nan == saved_ * stride() - inside && values_.fences_stand();
  }

 private:
  i64 n_;
  int saved_;
  i64 rows_, columns_;
  Fenced<T> values_;
};

}  // namespace

TEST_CASE("every cell of this library is known to these tests") {
  for (const naive::Kind& kind : naive::kinds()) {
    const CellInfo& info = cell_info(kind.name);
    CHECK(info.gates == kind.gates);
    CHECK(info.states == kind.states);
    CHECK((info.extra_bias != nullptr) == kind.extra_bias);
  }
  for (const std::string& name : cell_names())
    if (std::none_of(naive::kinds().begin(), naive::kinds().end(), [&](const auto& k) { return k.name == name; }))
      MESSAGE("naive.h does not know the cell ", name, ": its numbers are not tested here");
}

// The matrix of a hidden product is the identity here if it reads a saved activation, and absent if it reads the step
// before.
TEST_CASE_TEMPLATE("element-wise parts", T, float, double) {
  for_cells<T>([](const Kernels<T>& k, const CellKernels<T>& cell, const std::string& name) {
    const CellInfo& info = *cell.info;
    for (i64 rows = 0; rows <= 3; ++rows)
      for (int vectors = 1; vectors <= k.panel / k.vector; ++vectors)
        for (const i64 off : {0, 1, 2, 3}) {
          const i64 columns = vectors * k.vector, n = rows * columns;
          const auto numbers = [n](i64 phase, double scale) {
            std::vector<double> a;
            for (i64 i = 0; i < n; ++i) a.push_back(double(T(scale * double(value<T>(i * 7 + phase)))));
            return a;
          };
          naive::Graph<double> g;
          std::vector<naive::Vector<double>*> a, shares, before;
          for (int gate = 0; gate < info.gates; ++gate) {
            a.push_back(g.leaf(numbers(gate, 3)));
            shares.push_back(g.leaf(numbers(gate + 5, 1)));
            if (n) a.back()->a[0] = shares.back()->a[0] = 0;
          }
          for (int s = 0; s < info.states; ++s) before.push_back(g.leaf(numbers(s + 10, 1)));
          // of each unit another number
          Matrices<T> setting(k, 1, 1, columns, off), d_setting(k, 1, rows, columns, off);
          naive::Vector<double>* alpha = g.zeros(n);
          for (i64 j = 0; j < columns; ++j) setting(0, j) = T(0.9) / T(j + 1);
          for (i64 i = 0; i < n; ++i) alpha->a[at(i)] = double(setting(0, i % columns));
          const auto after = naive::step(g, cell.name, alpha, a, before,
                                         [&](auto* h, i64 gate) { return h == before[0] ? shares[at(gate)] : h; });

          Matrices<T> now(k, info.saved, rows, columns, off), then(k, info.saved, rows, columns, off),
              dgates(k, info.preactivations, rows, columns, 3 - off), carry(k, info.carries, rows, columns, off);
          for (i64 i = 0; i < n; ++i) {
            for (int s = 0; s < info.saved; ++s) then(s, i) = s < info.states ? T(before[at(s)]->a[at(i)]) : T(NAN);
            dgates(0, i) = value<T>(i + 20);
            after[0]->d[at(i)] = double(dgates(0, i));
            for (int c = 0; c < info.carries; ++c) {
              carry(c, i) = value<T>(i + c + 30);
              after[at(info.carry_state[c])]->d[at(i)] += double(carry(c, i));
            }
          }
          g.backward();
          ElementArgs<T> e{now.data(),      then.data(),    now.stride(),   dgates.data(),
                           dgates.stride(), carry.data(),   carry.stride(), rows,
                           vectors,         setting.data(), k.panel - 1,    info.setting ? d_setting.data() : nullptr};
          for (int stage = 0; stage < info.stages; ++stage) {
            for (int j = 0; j < info.preactivations; ++j) {
              const Preactivation& p = info.preactivation[j];
              for (i64 i = 0; p.stage == stage && i < n; ++i) {
                T& sum = now(p.saved, i) = p.input ? T(a[at(p.gate)]->a[at(i)]) : T(0);
                if (p.hidden == Preactivation::before) sum += T(shares[at(p.gate)]->a[at(i)]);
                if (p.hidden >= 0) sum += now(p.hidden, i);
              }
            }
            cell.forward[stage](e);
          }
          for (int s = 0; s < info.states; ++s)
            for (i64 i = 0; i < n; ++i) CHECK_MESSAGE(close_to(now(s, i), after[at(s)]->a[at(i)], 16), name);
          for (int stage = info.stages - 1; stage >= 0; --stage) {
            for (i64 i = 0; stage < info.stages - 1 && i < n; ++i) {
              T sum = 0;
              for (int j = 0; j < info.preactivations; ++j)
                if (info.preactivation[j].hidden >= 0) sum += dgates(j, i);
              dgates(0, i) = sum;
            }
            if (cell.show_back) cell.show_back(e);
            cell.backward[stage](e);
          }
          for (i64 i = 0; info.setting && i < n; ++i)
            CHECK_MESSAGE(close_to(d_setting(0, i), alpha->d[at(i)], 64), name, " setting");
          for (int j = 0; j < info.preactivations; ++j) {
            const Preactivation& p = info.preactivation[j];
            const std::vector<double>& expected = (p.input ? a : shares)[at(p.gate)]->d;
            for (i64 i = 0; i < n; ++i) CHECK_MESSAGE(close_to(dgates(j, i), expected[at(i)], 32), name, " gate ", j);
          }
          for (int s = 0; s < info.states; ++s)
            for (i64 i = 0; i < n; ++i) {
              T sum = 0;
              for (int c = 0; c < info.carries; ++c) sum += info.carry_state[c] == s ? carry(c, i) : T(0);
              CHECK_MESSAGE(close_to(sum, before[at(s)]->d[at(i)], 32), name, " state ", s);
            }
          for (Matrices<T>* saved : {&now, &dgates, &carry}) CHECK_MESSAGE(saved->fences_stand(), name);
        }
  });
}

namespace {

// Two steps of three sequences, of which one ends after the first, by the kernels alone: panels off elements from an
// aligned address, NaN wherever nothing may be read
template <class T>
class TwoSteps {
 public:
  TwoSteps(const Kernels<T>& k, const CellKernels<T>& cell, i64 inputs, i64 hidden, i64 outputs, i64 off)
      : k_(k), cell_(cell), info_(*cell.info), I_(inputs), H_(hidden), O_(outputs), off_(off), places_(spec()) {
    naive::NetworkCase c;
    c.net = spec();
    c.B = 3;
    c.T = 2;
    c.initial = true;
    c.seed = static_cast<unsigned>(H_);
    data_ = naive::make_data(c);
    if (info_.given) {
      naive::Graph<double> g;
      data_.initial[0] = naive::rates(g, std::string(cell.name), g.leaf(data_.initial[1]))->a;
    }
    c.lengths = true;
    data_.lengths = {2, 2, 1};
    for (i64 i = 0; i < 6 * c.net.output_width(); ++i) data_.d_outputs.push_back(double(value<T>(i)));
    for (int s = 0; s < info_.states; ++s)
      for (i64 i = 0; i < 3 * H_; ++i) data_.d_final[s].push_back(double(value<T>(i + s + 1)));
    expected_ = naive::network<double>(c, data_);
  }

  void check(const std::string& name) {
    forward(name);
    backward(name);
  }

 private:
  static constexpr i64 first_[3] = {0, 3, 5}, active_[3] = {3, 2, 0};
  static constexpr RowSchedule schedule_{3, 2, first_, active_};
  static i64 sequence(i64 row) { return row % 3; }
  static i64 step(i64 row) { return row / 3; }

  Spec spec() const {
    Spec s;
    s.cell = cell_.name;
    s.inputs = I_;
    s.hidden = H_;
    s.outputs = O_;
    if (info_.setting) s.setting = {0.25};
    return s;
  }
  T param(i64 i) const { return T(data_.params[at(i)]); }
  i64 GH() const { return info_.gates * H_; }
  i64 panels() const { return (H_ + k_.panel - 1) / k_.panel; }

  // Element (row, column) by f in panels of `columns` columns
  template <class F>
  Panels<T> matrix(i64 rows, i64 columns, const F& f) const {
    Panels<T> out(k_, rows, columns, rows * k_.panel, off_);
    for (i64 r = 0; r < rows; ++r)
      for (i64 j = 0; j < columns; ++j) out(r, j) = f(r, j);
    return out;
  }

  void forward(const std::string& name) {
    // products one after the other, each in panels [inputs + hidden][N]
    std::vector<T> weights(at(off_), T(NAN)), bias = weights;
    for (int j = 0; j < info_.preactivations; ++j) {
      const Preactivation& p = info_.preactivation[j];
      const i64 in = p.input ? I_ : 0, hidden = p.hidden == Preactivation::none ? 0 : H_;
      Panels<T> w = matrix(in + hidden, H_, [&](i64 r, i64 col) {
        return r < in ? param(places_.directions[0].W_xh + r * GH() + p.gate * H_ + col)
                      : param(places_.directions[0].W_hh + (r - in) * GH() + p.gate * H_ + col);
      });
      weights.insert(weights.end(), w.data(), w.data() + panels() * w.panel());
      Panels<T> b = matrix(1, H_, [&](i64, i64 col) {
        return param(j < info_.gates ? places_.directions[0].b_h + j * H_ + col : places_.directions[0].b_hn + col);
      });
      bias.insert(bias.end(), b.data(), b.data() + panels() * k_.panel);
    }
    const i64 stride = I_ + 3;
    Fenced<T> x(5 * stride, off_, T(NAN));
    for (i64 r = 0; r < 5; ++r)
      for (i64 i = 0; i < I_; ++i) x[r * stride + i] = T(data_.x[at((sequence(r) * 2 + step(r)) * I_ + i)]);
    const i64 panel = 8 * k_.panel + 3, last_panel = 3 * k_.panel + 1;
    saved_.assign(at(info_.saved * panels() * panel + 16), T(NAN));
    for (int s = 0; s < info_.states; ++s) {
      for (i64 b = 0; b < 3; ++b)
        for (i64 j = 0; j < (H_ + k_.vector - 1) / k_.vector * k_.vector; ++j)
          saved(s, b, j) = j < H_ ? T(data_.initial[s][at(b * H_ + j)]) : T(0);
    }
    std::vector<T> finals(at(info_.states * panels() * last_panel + 16), T(NAN));
    ForwardArgs<T> a{};
    a.schedule = &schedule_;
    a.t1 = 2;
    a.inputs = I_;
    a.hidden = H_;
    a.x = x.data();
    a.x_stride = stride;
    a.weights = weights.data() + off_;
    a.bias = bias.data() + off_;
    a.saved = saved_.data() + off_;
    a.saved_stride = panels() * panel;
    a.panel = panel;
    setting_.assign(at(panels() * k_.panel), T(0.25));
    a.setting = setting_.data();
    a.last = finals.data() + off_;
    a.last_stride = panels() * last_panel;
    a.last_panel = last_panel;
    k_.panels.forward(cell_, a, 0, 1);  // any split of the rows is the same
    k_.panels.forward(cell_, a, 1, 3);
    for (i64 r = 0; r < 5; ++r)
      for (i64 j = 0; j < H_; ++j)
        CHECK_MESSAGE(close_to(saved(0, 3 + r, j), expected_.hidden[at((sequence(r) * 2 + step(r)) * H_ + j)], 64),
                      name);
    for (int s = 0; s < info_.states; ++s)
      for (i64 b = 0; b < 3; ++b)
        for (i64 j = 0; j < H_; ++j) {
          const T got = a.last[s * a.last_stride + j / k_.panel * last_panel + b * k_.panel + j % k_.panel];
          CHECK_MESSAGE(close_to(got, expected_.final[s][at(b * H_ + j)], 64), name);
        }
  }

  void backward(const std::string& name) {
    std::vector<int> hidden, input;  // products, in the order of the transposed weights
    for (const bool before : {true, false})
      for (int j = 0; j < info_.preactivations; ++j)
        if (info_.preactivation[j].hidden != Preactivation::none &&
            (info_.preactivation[j].hidden == Preactivation::before) == before)
          hidden.push_back(j);
    for (int j = 0; j < info_.preactivations; ++j)
      if (info_.preactivation[j].input) input.push_back(j);
    Panels<T> w_back = matrix(O_ + i64(hidden.size()) * H_, H_, [&](i64 r, i64 col) {
      if (r < O_) return param(places_.W_hy + col * O_ + r);
      const Preactivation& p = info_.preactivation[hidden[at((r - O_) / H_)]];
      return param(places_.directions[0].W_hh + col * GH() + p.gate * H_ + (r - O_) % H_);
    });
    Panels<T> w_in = matrix(i64(input.size()) * H_, I_, [&](i64 r, i64 col) {
      return param(places_.directions[0].W_xh + col * GH() + info_.preactivation[input[at(r / H_)]].gate * H_ + r % H_);
    });
    // gradients of the outputs at each step: dense with a readout, else in dh; of the final state on top of them
    Fenced<T> dy(5 * std::max<i64>(O_, 1), off_, T(NAN));
    for (i64 r = 0; r < 5; ++r)
      for (i64 o = 0; o < O_; ++o) dy[r * O_ + o] = T(data_.d_outputs[at((sequence(r) * 2 + step(r)) * O_ + o)]);
    Panels<T> dh = matrix(O_ ? 3 : 5, H_, [&](i64 r, i64 col) {
      const bool ends = O_ || r >= 2;  // rows of dh: sequences, or all rows of which 2, 3 and 4 are last ones
      const i64 b = sequence(r);
      const double d_final = ends ? data_.d_final[0][at(b * H_ + col)] : 0;
      return T(d_final + (O_ ? 0 : data_.d_outputs[at((b * 2 + step(r)) * H_ + col)]));
    });
    const i64 panel = 5 * k_.panel + 2, batch_panel = 3 * k_.panel;
    std::vector<T> dgates(at(info_.preactivations * panels() * panel + 16), T(NAN));
    std::vector<T> carry(at(off_), T(NAN));
    for (int c = 0; c < info_.carries; ++c) {
      const int s = info_.carry_state[c];
      Panels<T> p = matrix(3, H_, [&](i64 b, i64 col) { return s ? T(data_.d_final[s][at(b * H_ + col)]) : T(0); });
      carry.insert(carry.end(), p.data(), p.data() + panels() * batch_panel);
    }
    BackwardArgs<T> a{};
    a.schedule = &schedule_;
    a.t1 = 2;
    a.hidden = H_;
    a.outputs = O_;
    a.weights = w_back.data();
    a.saved = saved_.data() + off_;
    a.panel = 8 * k_.panel + 3;
    a.saved_stride = panels() * a.panel;
    a.dy = O_ ? dy.data() : nullptr;
    a.dy_each_step = true;
    a.dh = dh.data();
    a.dh_panel = dh.panel();
    a.dh_each_step = O_ == 0;
    a.dgates = dgates.data() + off_;
    a.dgates_panel = panel;
    a.dgates_stride = panels() * panel;
    a.carry = carry.data() + off_;
    a.carry_panel = batch_panel;
    a.carry_stride = panels() * batch_panel;
    a.setting = setting_.data();
    k_.panels.backward(cell_, a, 1, 3);
    k_.panels.backward(cell_, a, 0, 1);

    const std::vector<i64> order{0, 1, 2};
    InputGradArgs<T> g{};
    g.schedule = &schedule_;
    g.t1 = 2;
    g.hidden = H_;
    g.columns = I_;
    g.weights = w_in.data();
    g.weights_panel = w_in.panel();
    g.dgates = a.dgates;
    g.dgates_stride = a.dgates_stride;
    g.dgates_panel = a.dgates_panel;
    g.order = order.data();
    g.out_sequence = 2 * I_;
    g.out_row = I_;
    g.out_panel = k_.panel;
    Fenced<T> dx(6 * I_, off_, T(7));
    g.out = dx.data();
    k_.panels.input_grad(cell_, g, 0, 3);
    for (i64 i = 0; i < 5 * I_; ++i) CHECK_MESSAGE(close_to(dx[i], expected_.x[at(i)], 64), name, " x ", i);
    for (i64 i = 5 * I_; i < 6 * I_; ++i) CHECK(dx[i] == 7);
    CHECK(dx.fences_stand());
    g.add = true;
    k_.panels.input_grad(cell_, g, 0, 3);
    for (i64 i = 0; i < 5 * I_; ++i) CHECK_MESSAGE(close_to(dx[i], 2 * expected_.x[at(i)], 64), name, " x ", i);

    Fenced<T> d_initial(3 * H_, off_, T(7));
    g.add = false;
    g.t1 = 1;
    g.initial = true;
    g.columns = H_;
    g.weights = w_back.data() + O_ * k_.panel;
    g.weights_panel = w_back.panel();
    g.out_sequence = H_;
    g.out = d_initial.data();
    k_.panels.input_grad(cell_, g, 0, 3);
    for (int s = info_.given; s < info_.states; ++s)
      for (i64 b = 0; b < 3; ++b)
        for (i64 j = 0; j < H_; ++j) {
          T got = s > info_.given ? T(0) : d_initial[b * H_ + j];
          if (s == 1 && info_.given == 1) {  // h is a function of it
            naive::Graph<double> graph;
            auto* state = graph.leaf({data_.initial[1][at(b * H_ + j)]});
            auto* shown = naive::rates(graph, std::string(cell_.name), state);
            shown->d[0] = double(got);
            graph.backward();
            got = T(state->d[0]);
          }
          for (int c = 0; c < info_.carries; ++c)
            if (info_.carry_state[c] == s)
              got += a.carry[c * a.carry_stride + j / k_.panel * batch_panel + b * k_.panel + j % k_.panel];
          CHECK_MESSAGE(close_to(got, expected_.initial[s][at(b * H_ + j)], 64), name, " state ", s);
        }
    CHECK(d_initial.fences_stand());
  }

  T& saved(int which, i64 row, i64 column) {
    const i64 panel = 8 * k_.panel + 3;
    return saved_[at(off_ + (which * panels() + column / k_.panel) * panel + row * k_.panel + column % k_.panel)];
  }

  const Kernels<T>& k_;
  const CellKernels<T>& cell_;
  const CellInfo& info_;
  i64 I_, H_, O_, off_;
  naive::Places places_;
  naive::Data data_;
  naive::Result<double> expected_;
  std::vector<T> setting_, saved_;
};

}  // namespace

TEST_CASE_TEMPLATE("two steps forward and backward", T, float, double) {
  for_cells<T>([](const Kernels<T>& k, const CellKernels<T>& cell, const std::string& name) {
    const i64 most = 2 * 64 / i64(sizeof(T)) + 1;
    for (i64 H = 1; H <= most; ++H) {
      const i64 I = 1 + (H * 11) % most, O = H % 2 ? 0 : 1 + H % 5, off = H % 4;
      TwoSteps<T>(k, cell, I, H, O, off).check(name + " H " + std::to_string(H) + " I " + std::to_string(I));
    }
  });
}

namespace {

// The logistic function as an LSTM's input gate has it: activation i, if all of the others are 0
template <class T>
void sigmoids(const Kernels<T>& k, const CellKernels<T>& lstm, std::vector<T>& a) {
  const i64 n = i64(a.size());
  std::vector<T> now(at(lstm.info->saved * n), T(0)), before(at(lstm.info->states * n), T(0));
  const int gate = lstm.info->preactivation[0].saved;
  std::copy(a.begin(), a.end(), now.begin() + gate * n);
  ElementArgs<T> e{};
  e.now = now.data();
  e.before = before.data();
  e.saved_stride = n;
  e.rows = n / k.panel;
  e.vectors = k.panel / k.vector;
  lstm.forward[0](e);
  std::copy_n(now.begin() + gate * n, n, a.begin());
}

// A cell's f(a) as its h, of the cells that have nothing else
template <class T>
void rates(const Kernels<T>& k, const CellKernels<T>& cell, std::vector<T>& a) {
  ElementArgs<T> e{};
  e.now = a.data();
  e.rows = i64(a.size()) / k.panel;
  e.vectors = k.panel / k.vector;
  cell.forward[0](e);
}

// Its derivative at a, from f(a)
template <class T>
void slopes(const Kernels<T>& k, const CellKernels<T>& cell, std::vector<T>& a) {
  rates(k, cell, a);
  std::vector<T> d(a.size(), T(1));
  ElementArgs<T> e{};
  e.now = a.data();
  e.dgates = d.data();
  e.rows = i64(a.size()) / k.panel;
  e.vectors = k.panel / k.vector;
  cell.backward[0](e);
  a = d;
}

template <class Exact>
Exact exact_sigmoid(Exact a) {
  const Exact e = std::exp(-std::fabs(a));
  return (a < 0 ? e : Exact(1)) / (1 + e);
}
template <class Exact>
Exact exact_softplus(Exact a) {
  return std::max(a, Exact(0)) + std::log1p(std::exp(-std::fabs(a)));
}

using Errors = std::map<std::string, double>;

// The worst error of each instruction set, in units in the last place of the exact result, that of the smallest normal
// number for what is smaller. Exact: a number type that is exact in comparison
template <class Exact, class T, class Run>
void check_function(const std::vector<T>& points, const char* cell, const Run& run, Exact (*f)(Exact), Errors& worst) {
  using Limits = std::numeric_limits<T>;
  std::vector<Exact> exact, unit;
  for (const T point : points) {
    exact.push_back(f(Exact(point)));
    const int power = std::isinf(exact.back()) ? 0 : std::ilogb(exact.back());
    unit.push_back(std::ldexp(Exact(1), std::max(power, Limits::min_exponent - 1) + 1 - Limits::digits));
  }
  for_places([&](const InstructionSet& set, const std::string& name) {
    std::vector<T> got = points;
    run(kernels_of<T>(set), cell_of<T>(set, find_cell(cell)), got);
    double& most = worst[name];
    for (std::size_t i = 0; i < points.size(); ++i) {
      if (exact[i] < Exact(Limits::min()) && got[i] == 0) continue;  // flushed
      if (std::isinf(exact[i]) && Exact(got[i]) == exact[i]) continue;
      const auto error = double(std::fabs(Exact(got[i]) - exact[i]) / unit[i]);
      most = std::max(most, std::isnan(error) || got[i] < 0 ? HUGE_VAL : error);
    }
  });
}

// At points everywhere, float and double. FASTBPTT_TEST_FLOATS=all: each float between 2^-27 and 128, else every
// 4096th; below, where it is as at 0, fewer
template <class RunFloat, class RunDouble>
void check_everywhere(const char* cell, const RunFloat& run32, const RunDouble& run64, double (*f)(double),
                      long double (*f64)(long double), double most32, double most64) {
  const std::uint32_t block = 1U << 14, infinity = 0x7f800000, low = 0x32000000, high = 0x43000000;
  Errors worst32, worst64;
  std::vector<float> points(block);
  const auto stretch = [&](std::uint32_t from, std::uint32_t to, std::uint32_t step) {
    for (std::uint32_t first = from; first <= to; first += block * step)
      for (const std::uint32_t sign : {0U, 0x80000000U}) {
        for (std::uint32_t i = 0; i < block; ++i) {
          const std::uint32_t code = sign | std::min(first + i * step, to);
          std::memcpy(&points[i], &code, sizeof code);
        }
        check_function<double>(points, cell, run32, f, worst32);
      }
  };
  stretch(0, low, 1U << 14);
  stretch(low, high, calls::thorough() ? 1 : 1U << 12);
  stretch(high, infinity, 1U << 14);
  std::vector<double> doubles(1 << 14);
  for (std::size_t i = 0; i < doubles.size(); ++i)
    doubles[i] = (i % 2 ? -1 : 1) * 760.0 * std::pow(double(i) / double(doubles.size()), 3);
  doubles[0] = INFINITY;
  doubles[1] = -INFINITY;
  check_function<long double>(doubles, cell, run64, f64, worst64);
  for (const auto& [name, error] : worst32) {
    MESSAGE(name, ": ", error, " units in float, ", worst64[name], " in double");
    CHECK(error <= most32);
    CHECK(worst64[name] <= most64);
  }
}

}  // namespace

TEST_CASE("sigmoid is within 3 units in the last place, everywhere") {
  check_everywhere("lstm", sigmoids<float>, sigmoids<double>, exact_sigmoid, exact_sigmoid, 3, 4);
  check_everywhere("rnn_sigmoid", rates<float>, rates<double>, exact_sigmoid, exact_sigmoid, 3, 4);
}

TEST_CASE("softplus and its derivative are within a few units in the last place, everywhere") {
  check_everywhere("rnn_softplus", rates<float>, rates<double>, exact_softplus, exact_softplus, 4, 4);
  check_everywhere("rnn_softplus", slopes<float>, slopes<double>, exact_sigmoid, exact_sigmoid, 5, 6);
}
