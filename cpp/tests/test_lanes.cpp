// The kernels with rows along the lanes, on arrays that end at a page that nobody may touch: beside those with panels,
// and each row alone beside the same row in a batch.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "engine/arguments.h"
#include "kernel_arrays.h"
#include "naive.h"

using namespace fastbptt;
using calls::same_bits;
using kernel_arrays::close_to;
using kernel_arrays::for_sets;
using kernel_arrays::same_bytes;
using kernel_arrays::set_of;
using kernel_arrays::value;
using naive::at;

namespace {

// n values of a mark, `off` elements before a page that nobody may touch
template <class T>
class Guarded {
 public:
  Guarded(i64 n, T mark, i64 off = 0) : pages_(std::size_t(n + off) * sizeof(T)) {
    data_ = reinterpret_cast<T*>(pages_.end()) - n - off;
    std::fill_n(data_, n, mark);
  }
  T* data() { return data_; }
  T& operator[](i64 i) { return data_[i]; }

 private:
  kernel_arrays::Pages pages_;
  T* data_;
};

// Where an element of a matrix stands: in groups of [columns][V], or in panels
template <class T>
struct Layout {
  const Kernels<T>& k;
  bool lanes;
  i64 group() const { return lanes ? k.vector : 1; }
  i64 whole(i64 n) const { return (n + group() - 1) / group() * group(); }
  i64 panel(i64 rows) const { return rows * k.panel; }
  i64 size(i64 rows, i64 columns) const {
    return lanes ? rows * columns : (columns + k.panel - 1) / k.panel * panel(rows);
  }
  i64 place(i64 rows, i64 r, i64 c, i64 columns) const {
    return lanes ? r / k.vector * k.vector * columns + c * k.vector + r % k.vector
                 : c / k.panel * panel(rows) + r * k.panel + c % k.panel;
  }
};

// Sequences by number, the longest first, of a layer with a readout (O 0: none) and the loss mse at all steps
struct Problem {
  i64 I, H, O;
  std::vector<i64> ids, lengths;
  bool final_gradients = false;
  i64 width() const { return O ? O : H; }
  i64 batch() const { return i64(ids.size()); }
  i64 steps() const { return lengths[0]; }
  Problem only(i64 b) const { return {I, H, O, {ids[at(b)]}, {lengths[at(b)]}, final_gradients}; }
};

struct How {
  bool lanes = true, keep = true;
  i64 split = 0;     // the first row of a second worker
  i64 block = 0;     // the first step of a second block of the backward pass
  bool nan = false;  // in the dead rows of what comes in; with keep in those alone that are of no sequence at any step
  i64 off = 0;       // elements from the end of an array to its page's
};

// By sequence, step and column
template <class T>
struct Shown {
  std::vector<T> saved, y, last, dy, dgates, dx, below, initial, carry;
  bool operator==(const Shown& other) const {
    for (const auto part : {&Shown::saved, &Shown::y, &Shown::last, &Shown::dy, &Shown::dgates, &Shown::dx,
                            &Shown::below, &Shown::initial, &Shown::carry})
      if (!same_bits(this->*part, other.*part)) return false;
    return true;
  }
};

template <class T>
class Layer {
 public:
  Layer(const Kernels<T>& k, const CellKernels<T>& cell, const Problem& p, const How& how)
      : k_(k), cell_(cell), info_(*cell.info), p_(p), how_(how), l_{k, how.lanes}, B_(p.batch()), steps_(p.steps()) {
    i64 row = 0;
    for (i64 t = 0, n = B_; t <= steps_; ++t) {
      while (n > 0 && p.lengths[at(n - 1)] <= t) --n;
      first_.push_back(row);
      active_.push_back(n);
      row += l_.whole(n);
    }
    rows_ = row;
    schedule_ = {l_.whole(B_), steps_, first_.data(), active_.data()};
    const i64 H = p.H, V = k.vector,
              count = how.lanes ? lane_setting_vectors(H) * V : (H + k.panel - 1) / k.panel * k.panel;
    for (i64 i = 0; i < count; ++i) {
      const i64 unit = how.lanes ? i / V % H : std::min(i, H - 1);
      setting_.push_back(T(0.25) + T(unit) / T(2 * H));
    }
  }

  Shown<T> run() {
    forward();
    if (how_.keep) backward();
    return std::move(out_);
  }

 private:
  using F = std::function<T(i64 row, i64 column)>;
  static T number(i64 a, i64 b, i64 c) { return value<T>(a * 1009 + b * 101 + c * 7); }
  T W_xh(i64 i, int gate, i64 u) const { return number(i, gate, u) / T(2); }
  T W_hh(i64 i, int gate, i64 u) const { return number(i + 40, gate, u) / T(2); }
  T W_hy(i64 u, i64 o) const { return number(u, o, 3) / T(2); }
  i64 id(i64 b) const { return p_.ids[at(b)]; }
  bool reads_before(int j) const { return info_.preactivation[j].hidden == Preactivation::before; }

  // f(row, sequence, step) for each row of a step or more
  template <class G>
  void for_rows(const G& g) const {
    for (i64 b = 0; b < B_; ++b)
      for (i64 t = 0; t < p_.lengths[at(b)]; ++t) g(first_[at(t)] + b, b, t);
  }

  // f(row, its place in the batch) for each dead row
  template <class G>
  void for_dead(const G& g) const {
    for (i64 t = 0; t < steps_; ++t)
      for (i64 b = active_[at(t)]; b < l_.whole(active_[at(t)]); ++b) g(first_[at(t)] + b, b);
  }

  // A matrix in blocks of so many columns
  template <class F>
  static std::vector<T> in_blocks(i64 rows, i64 columns, i64 block, const F& f) {
    std::vector<T> out;
    for (i64 first = 0; first < columns; first += block)
      for (i64 r = 0; r < rows; ++r)
        for (i64 c = first; c < std::min(columns, first + block); ++c) out.push_back(f(r, c));
    return out;
  }

  // A matrix whose rows are each there, zero up to the last vector, in this layout
  std::vector<T> weights(i64 rows, i64 columns, const F& f) const {
    if (how_.lanes) return in_blocks(rows, columns, lane_block(columns, k_.lanes->block), f);
    std::vector<T> out(at(l_.size(rows, columns)), T(0));
    for (i64 r = 0; r < rows; ++r)
      for (i64 c = 0; c < columns; ++c) out[at(l_.place(rows, r, c, columns))] = f(r, c);
    return out;
  }

  T dead() const { return how_.nan ? T(NAN) : T(0); }
  void set(T* matrix, i64 rows, i64 r, i64 c, i64 columns, T a) const { matrix[l_.place(rows, r, c, columns)] = a; }

  void forward() {
    const i64 I = p_.I, H = p_.H, O = p_.O, width = p_.width(), lead = schedule_.lead;
    std::vector<T> w, bias;
    for (int j = 0, end = 0; j < info_.preactivations; j = end) {  // those with the same operands side by side
      const Preactivation& one = info_.preactivation[j];
      for (end = j + 1; how_.lanes && end < info_.preactivations; ++end) {
        const Preactivation& other = info_.preactivation[end];
        if (other.stage != one.stage || other.input != one.input || other.hidden != one.hidden) break;
      }
      const i64 in = one.input ? I : 0, hidden = one.hidden == Preactivation::none ? 0 : H;
      const auto part = weights(in + hidden, (end - j) * H, [&](i64 r, i64 c) {
        const int gate = info_.preactivation[j + c / H].gate;
        return r < in ? W_xh(r, gate, c % H) : W_hh(r - in, gate, c % H);
      });
      w.insert(w.end(), part.begin(), part.end());
      for (int i = j; i < end; ++i) {
        const auto b = weights(1, H, [&](i64, i64 c) { return number(99, i, c) / T(4); });
        bias.insert(bias.end(), b.begin(), b.end());
      }
    }
    Guarded<T> x(rows_ * I, T(0), how_.off);
    for_dead([&](i64 row, i64 b) {
      for (i64 i = 0; i < I; ++i) set(x.data(), rows_, row, i, I, b < B_ && how_.keep ? T(0) : dead());
    });
    for_rows([&](i64 row, i64 b, i64 t) {
      for (i64 i = 0; i < I; ++i) x[how_.lanes ? l_.place(rows_, row, i, I) : row * I + i] = number(id(b), t, i);
    });
    const i64 saved_rows = how_.keep ? lead + rows_ : 2 * lead;
    saved_stride_ = l_.size(saved_rows, H);
    saved_rows_ = saved_rows;
    saved_ = std::make_unique<Guarded<T>>(info_.saved * saved_stride_, how_.lanes ? T(NAN) : T(0), how_.off);
    last_stride_ = l_.size(lead, H);
    Guarded<T> last(info_.states * last_stride_, T(0), how_.off);
    for (int s = 0; s < info_.states; ++s)
      for (i64 r = 0; r < lead; ++r)
        for (i64 u = 0; u < H; ++u)
          set(saved_->data() + s * saved_stride_, saved_rows, r, u, H,
              r < B_ ? number(id(r), 50 + s, u) / T(2) : dead());
    const auto readout = [&](i64 o, i64 u) { return W_hy(u, o); };
    const auto w_y = how_.lanes ? in_blocks(O, H, H, readout) : weights(O, H, readout);
    Guarded<T> guarded_w_y(i64(w_y.size()), T(0)), b_y(O, T(0)), y(rows_ * width, T(NAN)),
        target(rows_ * width, T(NAN)), factor(B_ * width, T(0.5));
    std::copy(w_y.begin(), w_y.end(), guarded_w_y.data());
    for (i64 o = 0; o < O; ++o) b_y[o] = number(77, 1, o);
    for_rows([&](i64 row, i64 b, i64 t) {
      for (i64 c = 0; c < width; ++c) target[row * width + c] = number(id(b), t, c + 60);
    });
    dy_ = std::make_unique<Guarded<T>>(rows_ * width, T(NAN));
    dy_lanes_ = std::make_unique<Guarded<T>>(how_.lanes ? rows_ * width : 0, T(NAN));
    dh_ = std::make_unique<Guarded<T>>(how_.lanes ? 0 : l_.size(rows_, H), T(0));
    Guarded<double> loss(B_ * width, 0.0);
    OutputArgs<T> o{};
    o.outputs = width;
    o.hidden = H;
    o.weights = O ? guarded_w_y.data() : nullptr;
    o.weights_panel = l_.panel(O);
    o.bias = O ? b_y.data() : nullptr;
    o.y = y.data();
    o.loss = &loss_of<T>(set_of(k_), find_loss("mse"));
    o.per_target = 1;
    o.targets = target.data();
    o.factor = factor.data();
    o.loss_sum = loss.data();
    o.dy = dy_->data();
    o.dh = O ? nullptr : how_.lanes ? dy_lanes_->data() : dh_->data();
    o.dh_panel = l_.panel(rows_);
    o.dy_lanes = how_.lanes && O ? dy_lanes_->data() : nullptr;
    Guarded<T> guarded_w(i64(w.size()), T(0), how_.off), guarded_bias(i64(bias.size()), T(0), how_.off);
    std::copy(w.begin(), w.end(), guarded_w.data());
    std::copy(bias.begin(), bias.end(), guarded_bias.data());
    ForwardArgs<T> a{};
    a.schedule = &schedule_;
    a.t1 = steps_;
    a.inputs = I;
    a.hidden = H;
    a.x = x.data();
    a.x_stride = I;
    a.weights = guarded_w.data();
    a.bias = guarded_bias.data();
    a.keep = how_.keep;
    a.saved = saved_->data();
    a.saved_stride = saved_stride_;
    a.panel = l_.panel(saved_rows);
    a.setting = setting_.data();
    a.each_step = &o;
    a.last = last.data();
    a.last_stride = last_stride_;
    a.last_panel = l_.panel(lead);
    for_shares([&](i64 row0, i64 row1) { kernels().forward(cell_, a, row0, row1); });
    for_rows([&](i64 row, i64, i64) {
      for (int s = 0; how_.keep && s < info_.saved; ++s)
        append(out_.saved, a.saved + s * saved_stride_, saved_rows, lead + row, H);
      out_.y.insert(out_.y.end(), &y[row * width], &y[row * width] + width);
      out_.dy.insert(out_.dy.end(), &(*dy_)[row * width], &(*dy_)[row * width] + width);
    });
    for (int s = 0; s < info_.states; ++s)
      for (i64 b = 0; b < B_; ++b) append(out_.last, last.data() + s * last_stride_, lead, b, H);
    for (i64 t = 0; how_.lanes && t < steps_; ++t)
      for (i64 b = active_[at(t)]; b < l_.whole(active_[at(t)]); ++b) {
        bool zero = true;
        for (int s = 0; how_.keep && s < info_.states; ++s)
          for (i64 u = 0; u < H; ++u)
            zero &= a.saved[s * saved_stride_ + l_.place(0, lead + first_[at(t)] + b, u, H)] == 0;
        for (i64 c = 0; c < width; ++c) zero &= (*dy_lanes_)[l_.place(0, first_[at(t)] + b, c, width)] == 0;
        CHECK(zero);  // the states of dead rows, and the gradients of their outputs
      }
  }

  void backward() {
    const i64 I = p_.I, H = p_.H, O = p_.O, lead = schedule_.lead;
    std::vector<int> hidden, input;
    for (const bool before : {true, false})
      for (int j = 0; j < info_.preactivations; ++j)
        if (info_.preactivation[j].hidden != Preactivation::none && reads_before(j) == before) hidden.push_back(j);
    for (int j = 0; j < info_.preactivations; ++j)
      if (info_.preactivation[j].input) input.push_back(j);
    const auto w = weights(O + i64(hidden.size()) * H, H, [&](i64 r, i64 u) {
      return r < O ? W_hy(u, r) : W_hh(u, info_.preactivation[hidden[at((r - O) / H)]].gate, (r - O) % H);
    });
    const i64 depth = O + i64(hidden.size()) * H, input_depth = i64(input.size()) * H;
    const auto input_weights = [&](i64 columns) {
      return weights(input_depth, columns,
                     [&](i64 r, i64 c) { return W_xh(c, info_.preactivation[input[at(r / H)]].gate, r % H); });
    };
    const bool ends = p_.final_gradients;
    // what enters: dy or dh at each step, dL/dh of the final state at the last one
    Guarded<T> dh(ends && O ? l_.size(lead, H) : 0, T(NAN)), carry(info_.carries * l_.size(lead, H), T(0));
    T* const each_dh = how_.lanes ? dy_lanes_->data() : dh_->data();
    for (i64 b = 0; b < lead && ends; ++b)
      for (i64 u = 0; u < H; ++u) {
        const T d = b < B_ ? number(id(b), 70, u) : dead();
        if (O) set(dh.data(), lead, b, u, H, d);
        if (!O && b < B_) each_dh[l_.place(rows_, first_[at(p_.lengths[at(b)] - 1)] + b, u, H)] += d;
        for (int c = 0; c < info_.carries && b < B_; ++c)
          if (info_.carry_state[c] > 0)
            set(carry.data() + c * l_.size(lead, H), lead, b, u, H, number(id(b), 80 + c, u));
      }
    for_dead([&](i64 row, i64 b) {
      for (i64 c = 0; c < p_.width() && b >= B_; ++c) set(dy_lanes_->data(), 0, row, c, p_.width(), dead());
    });
    BackwardArgs<T> a{};
    a.schedule = &schedule_;
    a.hidden = H;
    a.outputs = O;
    a.weights = w.data();
    a.saved = saved_->data();
    a.saved_stride = saved_stride_;
    a.panel = l_.panel(saved_rows_);
    a.dy = O ? dy_->data() : nullptr;
    a.dy_lanes = dy_lanes_->data();
    a.dy_each_step = true;
    a.dh = O ? (ends ? dh.data() : nullptr) : each_dh;
    a.dh_panel = l_.panel(O ? lead : rows_);
    a.dh_each_step = O == 0;
    a.carry = carry.data();
    a.carry_enters = ends;
    a.carry_stride = l_.size(lead, H);
    a.carry_panel = a.next_panel = l_.panel(lead);
    a.setting = setting_.data();
    Guarded<T> next(info_.preactivations * a.carry_stride, T(NAN));
    a.next = next.data();
    a.next_stride = a.carry_stride;
    std::vector<std::vector<T>> gates(at(rows_));
    std::vector<T> dx(at(B_ * steps_ * I), T(NAN)), initial(at(B_ * H), T(NAN));
    std::vector<i64> places, states;
    for (i64 b = 0; b < B_; ++b) {
      places.push_back(b * steps_ * I);
      states.push_back(b);
    }
    const auto w_x = input_weights(I), w_below = input_weights(H);
    Guarded<T> below(how_.lanes ? rows_ * H : l_.size(rows_, H), T(0));
    for (i64 t0 = how_.block, t1 = steps_; t1 > 0; t1 = t0, t0 = 0) {
      const i64 block = (t1 == steps_ ? rows_ : first_[at(t1)]) - first_[at(t0)];
      Guarded<T> dgates(info_.preactivations * l_.size(block, H), how_.lanes ? T(NAN) : T(0), how_.off);
      a.t0 = t0;
      a.t1 = t1;
      a.base = first_[at(t0)];
      a.dgates = dgates.data();
      a.dgates_stride = l_.size(block, H);
      a.dgates_panel = l_.panel(block);
      for_shares([&](i64 row0, i64 row1) { kernels().backward(cell_, a, row0, row1); });
      InputGradArgs<T> g{};
      g.schedule = &schedule_;
      g.t0 = t0;
      g.t1 = t1;
      g.hidden = H;
      g.dgates = a.dgates;
      g.dgates_stride = a.dgates_stride;
      g.dgates_panel = a.dgates_panel;
      g.base = a.base;
      g.columns = I;
      g.weights = w_x.data();
      g.weights_panel = l_.panel(input_depth);
      g.weights_rows = input_depth;
      g.order = places.data();
      g.out_sequence = 1;
      g.out_row = I;
      g.out_panel = k_.panel;
      g.out = dx.data();
      for_shares([&](i64 row0, i64 row1) { kernels().input_grad(cell_, g, row0, row1); });
      g.order = nullptr;
      g.columns = H;
      g.weights = w_below.data();
      g.out_row = k_.panel;
      g.out_panel = l_.panel(rows_);
      g.out_in_lanes = how_.lanes;
      g.out = below.data();
      for_shares([&](i64 row0, i64 row1) { kernels().input_grad(cell_, g, row0, row1); });
      for (int j = 0; j < info_.preactivations && t0 > 0; ++j)  // of the block's first step, for the block before it
        for (i64 b = 0; b < l_.whole(active_[at(t0)]); ++b)
          for (i64 u = 0; u < H; ++u)
            next[j * a.next_stride + l_.place(lead, b, u, H)] =
                a.dgates[j * a.dgates_stride + l_.place(block, b, u, H)];
      for_rows([&](i64 row, i64, i64 t) {
        if (t < t0 || t >= t1) return;
        for (int j = 0; j < info_.preactivations; ++j)
          append(gates[at(row)], a.dgates + j * a.dgates_stride, block, row - a.base, H);
      });
      if (ends && how_.lanes)
        for (i64 t = t0; t < t1; ++t)
          for (i64 b = active_[at(t)]; b < l_.whole(active_[at(t)]); ++b) {
            bool zero = true;
            for (int j = 0; j < info_.preactivations; ++j)
              for (i64 u = 0; u < H; ++u)
                zero &= a.dgates[j * a.dgates_stride + l_.place(0, first_[at(t)] - a.base + b, u, H)] == 0;
            CHECK(zero);  // the gradients of dead rows, whatever enters at a later step back
          }
      if (t0 > 0) continue;
      g.t0 = 0;
      g.t1 = 1;
      g.initial = true;
      g.out_in_lanes = false;
      g.weights = w.data() + (how_.lanes ? 0 : O * k_.panel);
      g.weights_panel = l_.panel(depth);
      g.weights_rows = depth;
      g.weights_skip = O;
      g.order = states.data();
      g.out_sequence = H;
      g.out_row = 0;
      g.out_panel = k_.panel;
      g.out = initial.data();
      for_shares([&](i64 row0, i64 row1) { kernels().input_grad(cell_, g, row0, row1); });
    }
    for_rows([&](i64 row, i64 b, i64 t) {
      out_.dgates.insert(out_.dgates.end(), gates[at(row)].begin(), gates[at(row)].end());
      const T* d = dx.data() + (b * steps_ + t) * I;
      out_.dx.insert(out_.dx.end(), d, d + I);
      append(out_.below, below.data(), rows_, row, H);
    });
    out_.initial = initial;
    for (int c = 0; c < info_.carries; ++c)
      for (i64 b = 0; b < B_; ++b) append(out_.carry, carry.data() + c * a.carry_stride, lead, b, H);
  }

  const LayerKernels<T>& kernels() const { return how_.lanes ? k_.lanes->layer : k_.panels; }
  template <class G>
  void for_shares(const G& g) const {
    if (how_.split > 0 && how_.split < B_) {
      g(how_.split, B_);
      g(i64(0), how_.split);
    } else {
      g(i64(0), B_);
    }
  }
  void append(std::vector<T>& to, const T* matrix, i64 rows, i64 r, i64 columns) const {
    for (i64 c = 0; c < columns; ++c) to.push_back(matrix[l_.place(rows, r, c, columns)]);
  }

  const Kernels<T>& k_;
  const CellKernels<T>& cell_;
  const CellInfo& info_;
  Problem p_;
  How how_;
  Layout<T> l_;
  i64 B_, steps_, rows_ = 0, saved_stride_ = 0, saved_rows_ = 0, last_stride_ = 0;
  std::vector<i64> first_, active_;
  std::vector<T> setting_;  // of each unit another number
  RowSchedule schedule_{};
  std::unique_ptr<Guarded<T>> saved_, dy_, dy_lanes_, dh_;
  Shown<T> out_;
};

// The rows of one sequence out of those of all; of what has a number for each sequence, `each` numbers
template <class T>
Shown<T> part_of(const Shown<T>& all, const Problem& p, i64 b, const CellInfo& info) {
  i64 before = 0, rows = 0;
  for (i64 i = 0; i < p.batch(); ++i) {
    if (i < b) before += p.lengths[at(i)];
    rows += p.lengths[at(i)];
  }
  const i64 length = p.lengths[at(b)];
  const auto steps = [&](const std::vector<T>& a) {
    const i64 n = i64(a.size()) / std::max<i64>(rows, 1);
    return std::vector<T>(a.begin() + before * n, a.begin() + (before + length) * n);
  };
  const auto states = [&](const std::vector<T>& a, i64 count) {
    std::vector<T> out;
    for (i64 s = 0; s < count; ++s) {
      const auto from = a.begin() + (s * p.batch() + b) * p.H;
      out.insert(out.end(), from, from + p.H);
    }
    return out;
  };
  return {steps(all.saved), steps(all.y),           states(all.last, info.states),
          steps(all.dy),    steps(all.dgates),      steps(all.dx),
          steps(all.below), states(all.initial, 1), states(all.carry, info.carries)};
}

template <class T>
bool close(const std::vector<T>& got, const std::vector<T>& expected) {
  bool fine = got.size() == expected.size();
  for (std::size_t i = 0; fine && i < got.size(); ++i) fine = close_to(got[i], double(expected[i]), 256);
  return fine;
}

// f(kernels, cell, name) for each cell of each instruction set
template <class T, class F>
void for_cells(const F& f) {
  for_sets([&](const InstructionSet& set, const std::string& name) {
    for (const std::string& cell : naive::structure_names())
      f(kernels_of<T>(set), cell_of<T>(set, find_cell(cell)), name + " " + cell);
  });
}

// Batches around whole groups, their sequences of one length, of a few, and all different at the end
std::vector<Problem> problems(i64 H, i64 V) {
  std::vector<Problem> all;
  const i64 I = 1 + H * 5 % 7, O = H % 4 == 0 ? 0 : H % 4 == 1 ? 1 : 1 + H % 19;
  for (const i64 B : {i64(1), V - 1, V, V + 1, 3 * V - 1}) {
    Problem p{I, H, O, {}, {}, (B + H) % 2 == 0};
    for (i64 b = 0; b < B; ++b) {
      p.ids.push_back(b * 3 + 1);
      p.lengths.push_back(std::max<i64>(1, H % 3 == 0 ? 3 : 4 - b * 4 / std::max<i64>(B - 1, 1)));
    }
    all.push_back(p);
  }
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("in lanes each row is what it is in panels, and alone", T, float, double) {
  for_cells<T>([](const Kernels<T>& k, const CellKernels<T>& cell, const std::string& isa) {
    const i64 V = k.vector;
    std::size_t turn = 0;
    for (i64 H = 1; H <= most_lane_units; H += H < 10 ? 1 : 5)
      for (const Problem& p : problems(H, V)) {
        const std::string name = isa + " H " + std::to_string(H) + " B " + std::to_string(p.batch());
        const Shown<T> all = Layer<T>(k, cell, p, {}).run(), panels = Layer<T>(k, cell, p, {.lanes = false}).run();
        CHECK_MESSAGE(same_bits(all.saved, panels.saved), name);
        CHECK_MESSAGE(same_bits(all.y, panels.y), name);
        CHECK_MESSAGE(same_bits(all.last, panels.last), name);
        CHECK_MESSAGE(same_bits(all.dy, panels.dy), name);
        for (const auto part :
             {&Shown<T>::dgates, &Shown<T>::dx, &Shown<T>::below, &Shown<T>::initial, &Shown<T>::carry})
          CHECK_MESSAGE(close(all.*part, panels.*part), name);
        const i64 b = i64(turn++) % p.batch();
        CHECK_MESSAGE(Layer<T>(k, cell, p.only(b), {}).run() == part_of(all, p, b, *cell.info), name, " row ", b);
        for (const i64 block : {i64(0), p.steps() / 2})
          CHECK_MESSAGE(Layer<T>(k, cell, p, {.split = V * (1 + i64(turn) % 2), .block = block}).run() == all, name);
        CHECK_MESSAGE(Layer<T>(k, cell, p, {.nan = true, .off = 1 + H % 3}).run() == all, name);
        for (const bool nan : {false, true}) {
          const Shown<T> few = Layer<T>(k, cell, p, {.keep = false, .nan = nan}).run();
          CHECK_MESSAGE(same_bits(few.y, all.y), name);
          CHECK_MESSAGE(same_bits(few.last, all.last), name);
        }
      }
  });
}

TEST_CASE_TEMPLATE("outputs of rows in lanes", T, float, double) {
  for_sets([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 V = k.vector, n = k.panel;
    for (const i64 O : {0, 1, 4, 5, 17, most_lane_outputs})
      for (i64 H = 1; H <= most_lane_units; H += O == 5 || O == 0 ? 1 : 13)
        for (const i64 count : {i64(1), V - 1, V, V + 1, 2 * V + 1}) {
          const std::string name = isa + " O " + std::to_string(O) + " H " + std::to_string(H);
          const i64 rows = (count + V - 1) / V * V, width = O ? O : H, panels = (H + n - 1) / n, first = V;
          Guarded<T> lanes((first + rows) * H, T(NAN)), w(O * H, T(NAN)), bias(O, T(NAN));
          std::vector<T> h(at(panels * rows * n), T(0)), w_panels(at(panels * O * n), T(0));
          for (i64 u = 0; u < H; ++u) {
            for (i64 r = 0; r < count; ++r) {
              const T a = (r + u) % 5 ? value<T>(r * 41 + u) : -T(0);
              lanes[(first + r / V * V) * H + u * V + r % V] = h[at(u / n * rows * n + r * n + u % n)] = a;
            }
            for (i64 o = 0; o < O; ++o) w[o * H + u] = w_panels[at((u / n * O + o) * n + u % n)] = value<T>(o * 13 + u);
          }
          for (i64 o = 0; o < O; ++o) bias[o] = value<T>(o + 70);
          for (int variant = 0; variant < 4; ++variant) {
            Guarded<T> y(count * width, T(NAN)), dy(count * width, T(NAN)), in_lanes(rows * width, T(NAN));
            Guarded<T> targets(count * width, T(0.25)), factor(count * width, T(1.5));
            std::vector<T> z(at(count * width), T(NAN)), dz = z, dh(at(panels * rows * n));
            std::vector<double> sum(at(count * width), 0.5), other = sum;
            OutputArgs<T> o{};
            o.outputs = width;
            o.hidden = H;
            o.weights = O ? w.data() : nullptr;
            o.bias = variant & 1 ? bias.data() : nullptr;
            o.y = y.data();
            o.loss = &loss_of<T>(set, find_loss("mse"));
            o.per_target = 1;
            o.targets = targets.data();
            o.factor = factor.data();
            o.each_factor = variant & 2;
            o.loss_sum = sum.data();
            o.dy = dy.data();
            (O ? o.dy_lanes : o.dh) = in_lanes.data();
            OutputArgs<T> p = o;
            p.weights = O ? w_panels.data() : nullptr;
            p.weights_panel = O * n;
            p.y = z.data();
            p.loss_sum = other.data();
            p.dy = dz.data();
            p.dh = O ? nullptr : dh.data();
            p.dh_panel = rows * n;
            k.lanes->layer.outputs(o, lanes.data(), 0, first, 0, 0, count);
            k.panels.outputs(p, h.data(), rows * n, 0, 0, 0, count);
            CHECK_MESSAGE(same_bytes(y.data(), z.data(), z.size()), name);
            CHECK_MESSAGE(same_bytes(dy.data(), dz.data(), dz.size()), name);
            CHECK_MESSAGE(sum == other, name);
            bool right = true;
            for (i64 r = 0; r < rows; ++r)
              for (i64 c = 0; c < width; ++c)
                right &= in_lanes[r / V * V * width + c * V + r % V] == (r < count ? dy[r * width + c] : T(0));
            CHECK_MESSAGE(right, name);
          }
        }
  });
}

TEST_CASE_TEMPLATE("weight gradients in lanes", T, float, double) {
  for_sets([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 V = k.vector, groups = 5;
    const std::vector<Run> runs{{0, 2 * V, 2 * V}, {3 * V, 0, V}};
    for (i64 columns = 1; columns <= 9; ++columns)
      for (i64 right = 1; right <= 21; ++right)
        for (const bool add : {false, true})
          for (const bool ones : {false, true}) {
            if (ones && columns > 1) continue;
            const std::string name = isa + " " + std::to_string(columns) + " " + std::to_string(right);
            const i64 column0 = ones ? 0 : columns / 3, column1 = ones ? 1 : columns - columns / 4, gates = right + 2;
            Guarded<T> a(groups * columns * V, T(NAN)), g(groups * gates * V, T(NAN), right % 3),
                c(columns * right * V, T(0.5), right % 2);
            std::vector<i64> places;
            for (i64 i = 0; i < right; ++i) places.push_back((i * 3 % right == i ? i : right - 1 - i) * V + V);
            for (i64 i = 0; i < groups; ++i)
              for (i64 v = 0; v < V; ++v) {
                for (i64 j = column0; j < column1; ++j) a[(i * columns + j) * V + v] = value<T>(i * 91 + j * 17 + v);
                for (i64 j = 1; j <= right; ++j) g[(i * gates + j) * V + v] = value<T>(i * 57 + j * 19 + v);
              }
            LaneGradArgs<T> w{};
            w.a = ones ? nullptr : a.data();
            w.a_columns = columns;
            w.column0 = column0;
            w.column1 = column1;
            w.g = g.data();
            w.g_columns = gates;
            w.g_place = places.data();
            w.right = right;
            w.runs = runs.data();
            w.run_count = i64(runs.size());
            w.c = c.data();
            w.add = add;
            k.lanes->weight_grad(w);
            double worst = 0;
            for (i64 j = 0; j < columns; ++j)
              for (i64 r = 0; r < right; ++r)
                for (i64 v = 0; v < V; ++v) {
                  const bool mine = j >= column0 && j < column1;
                  double expected = add || !mine ? 0.5 : 0;
                  for (const Run& run : runs)
                    for (i64 i = 0; mine && i < run.count; i += V)
                      expected += (ones ? 1.0 : double(a[(run.a + i) * columns + j * V + v])) *
                                  double(g[(run.g + i) * gates + places[at(r)] + v]);
                  const double d = std::fabs(double(c[(j * right + r) * V + v]) - expected);
                  worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
                }
            CHECK_MESSAGE(worst < 16 * double(std::numeric_limits<T>::epsilon()), name);
            for (i64 j = column0; j < column1; ++j) {  // each column of the right operand alone has the same bits
              const i64 r = (j * 7 + columns) % right;
              Guarded<T> one(columns * V, T(0.5));
              LaneGradArgs<T> single = w;
              single.g_place = &places[at(r)];
              single.right = 1;
              single.column0 = j;
              single.column1 = j + 1;
              single.c = one.data();
              k.lanes->weight_grad(single);
              CHECK_MESSAGE(same_bytes(&one[j * V], &c[(j * right + r) * V], std::size_t(V)), name);
            }
          }
  });
}

TEST_CASE_TEMPLATE("the sums of lanes", T, float, double) {
  for_sets([](const InstructionSet& set, const std::string& isa) {
    const Kernels<T>& k = kernels_of<T>(set);
    const i64 V = k.vector;
    for (i64 n = 0; n <= 2 * V + 1; ++n) {
      Guarded<T> from(n * V, T(NAN)), to(n, T(NAN));
      for (i64 i = 0; i < n * V; ++i) from[i] = value<T>(i);
      k.lanes->totals(from.data(), n, to.data());
      for (i64 i = 0; i < n; ++i) {
        double expected = 0;
        for (i64 v = 0; v < V; ++v) expected += double(from[i * V + v]);
        CHECK_MESSAGE(close_to(to[i], expected, 16), isa, " n ", n);
      }
    }
  });
}
