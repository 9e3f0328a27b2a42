// Terms beside the loss that depend on the states: penalties on the hidden states of all layer directions and on their
// change from step to step, whose gradients enter at each step on the way back; and Pascanu's Omega, which enters the
// gradients of W_hh alone. Cold: small code, not in the way of calls without them.
#ifndef FASTBPTT_ENGINE_ACTIVITY_H
#define FASTBPTT_ENGINE_ACTIVITY_H

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/layer_directions.h"
#include "engine/packing.h"

namespace fastbptt {

// Before the workers start
template <class T>
[[gnu::cold]] void begin_activity(const Net<T>& net, Workspace<T>& w, const ActivityPenalties& given) {
  w.activity = {};
  w.omega = 0;
  if (!given) return;
  i64 steps = 0, changes = 0;
  for (const i64 length : w.plan.lengths) {
    steps += length;
    changes += length - 1;
  }
  const double units = double(net.H()) * double(net.layer_directions.size());
  w.activity = {given.l1 / (double(steps) * units), given.l2 / (double(steps) * units),
                given.change / (double(std::max<i64>(changes, 1)) * units), given.on_states()};
  w.omega = given.omega / double(w.plan.callers_batch);
  w.omega_sums.assign(net.layer_directions.size(), 0.0);
  if (!w.activity.on) return;
  std::fill_n(w.activity_sums, ActivityScales::terms * w.plan.lead() * i64(net.layer_directions.size()), 0.0);
  for (const LayerBuffers<T>& b : w.layers) std::fill_n(b.change, b.batch_stride, T(0));
}

// Sums over stretches of a row, or of a group in lanes: element j counts for lane j % width
struct LaneSums {
  static constexpr i64 width = 16;
  double at[width] = {};
  template <class T>
  void add_squares(i64 n, const T* x) {
    i64 j = 0;
    for (; j + width <= n; j += width)
      for (i64 k = 0; k < width; ++k) at[k] += double(x[j + k]) * double(x[j + k]);
    for (; j < n; ++j) at[j % width] += double(x[j]) * double(x[j]);
  }
  double of(i64 lane, i64 lanes) const {
    double total = 0;
    for (i64 k = lane; k < width; k += lanes) total += at[k];
    return total;
  }
};

// Adds the gradients of n hidden states to dh. before: those of the step before, null at the first; later: the gradient
// of the change to the step after, in, and of the change to this one, out
template <class T>
[[gnu::cold]] void add_activity(const ActivityScales& scale, const T* h, const T* before, i64 n, T* dh, T* later,
                                LaneSums (&sums)[ActivityScales::terms]) {
  const T l1 = T(scale.l1), l2 = T(2 * scale.l2), change = T(2 * scale.change);
  for (i64 j = 0; l1 != 0 && j < n; ++j) {
    dh[j] += h[j] > T(0) ? l1 : h[j] < T(0) ? -l1 : T(0);
    sums[0].at[j % LaneSums::width] += std::abs(double(h[j]));
  }
  if (l2 != 0) {
    for (i64 j = 0; j < n; ++j) dh[j] += l2 * h[j];
    sums[1].add_squares(n, h);
  }
  for (i64 j = 0; change != 0 && j < n; ++j) {
    const T difference = before ? h[j] - before[j] : T(0), slope = change * difference;
    dh[j] += slope - later[j];
    later[j] = slope;
    sums[2].at[j % LaneSums::width] += double(difference) * double(difference);
  }
}

// The gradients that enter the top layer at row r of step t otherwise, where dh does not hold them: of the mean over
// the steps, or of the last step's outputs without a readout
template <class T>
[[gnu::cold]] void start_top(const Net<T>& net, Workspace<T>& w, std::size_t i, Steps steps, i64 t, i64 r, i64 at) {
  const LayerBuffers<T>& b = w.layers[i];
  const i64 n = w.panel * w.lanes;
  for (i64 p = 0; p < panels_of(net, w); ++p) {
    T* dh = b.dh + p * b.dh_panel + at * w.panel;
    if (steps == Steps::mean)
      std::copy_n(b.d_pooled + p * b.batch_panel + r * n, n, dh);
    else
      std::fill_n(dh, n, T(0));
  }
  for (i64 k = r; k < std::min(r + w.lanes, w.plan.batch) && steps == Steps::last && !net.O(); ++k)
    if (t == w.plan.length(k) - 1)
      to_panels(net, w, w.dy + k * net.spec.output_width() + net.layer_directions[i].direction * net.H(), at + k - r,
                true, b.dh, b.dh_panel);
}

// Of a block's steps, from the last to the first
template <class T>
[[gnu::cold]] void enter_activity(const Net<T>& net, Workspace<T>& w, i64 row0, i64 row1, std::size_t i, i64 window,
                                  const BatchPlan::Block& block, Steps steps) {
  const BatchPlan& plan = w.plan;
  const LayerBuffers<T>& b = w.layers[i];
  const i64 n = w.panel, V = w.lanes, t0 = plan.window(window).t0, base = plan.row(t0, 0);
  const bool starts = net.is_top(net.layer_directions[i]) && (steps == Steps::all ? net.O() > 0 : steps != Steps::max);
  double* totals = w.activity_sums + static_cast<i64>(i) * ActivityScales::terms * plan.lead();
  for (i64 t = block.t1 - 1; t >= block.t0; --t)
    for (i64 r = row0, end = std::min(row1, plan.running(t)); r < end; r += V) {
      const i64 at = plan.row(t, r) - base, live = std::min(V, end - r);
      if (starts) start_top(net, w, i, steps, t, r, at);
      LaneSums sums[ActivityScales::terms];
      for (i64 p = 0; p < panels_of(net, w); ++p) {
        const T* states = b.saved + p * b.panel;
        const T* before = t == 0 ? nullptr : states + (t == t0 ? r : plan.lead() + plan.row(t - 1, r) - base) * n;
        T *dh = b.dh + p * b.dh_panel + at * n, *later = b.change + p * b.batch_panel + r * n;
        const i64 real = std::min(n, net.H() - p * n) * V;
        add_activity(w.activity, states + (plan.lead() + at) * n, before, real, dh, later, sums);
        for (i64 k = live; k < V; ++k)  // rows of no sequence, or of one that has ended
          for (i64 j = k; j < real; j += V) dh[j] = later[j] = T(0);
      }
      for (int s = 0; s < ActivityScales::terms; ++s)
        for (i64 k = 0; k < live; ++k) totals[s * plan.lead() + r + k] += sums[s].of(k, V);
    }
}

// The norm of a row of a matrix in panels, where its squares leave the range
template <class T>
[[gnu::cold]] double careful_norm(const Net<T>& net, const Workspace<T>& w, const T* matrix, i64 panel, i64 lane) {
  double norm = 0;
  for (i64 p = 0; p < panels_of(net, w); ++p)
    for (i64 j = 0; j < std::min(w.panel, net.H() - p * w.panel); ++j)
      norm = std::hypot(norm, double(matrix[p * panel + j * w.lanes + lane]));
  return norm;
}

// Omega (Pascanu, Mikolov and Bengio 2013, equations 9 and 10) of some steps of a block. omega_rows hold da_t W_hh^T on
// the way in. On the way out h_{t-1} plus the factor that makes of da_t Omega's own part of the gradient of W_hh: their
// outer product is the sum of both.
template <class T>
[[gnu::cold]] void omega_steps(const Net<T>& net, Workspace<T>& w, i64 row0, i64 row1, std::size_t i, i64 window,
                               i64 block_start, i64 t_begin, i64 t_end) {
  constexpr double least = double(std::numeric_limits<T>::min()) * (1 << 20), far = 1e280;
  const BatchPlan& plan = w.plan;
  const LayerBuffers<T>& b = w.layers[i];
  const i64 n = w.panel, V = w.lanes, panels = panels_of(net, w), t0 = plan.window(window).t0, base = plan.row(t0, 0);
  const auto kind = net.info.omega;
  const T* of_state = kind == CellInfo::Omega::leaky ? w.dh_kept : w.dgates;  // dE / d(the state after the step)
  for (i64 t = t_begin; t < t_end; ++t)
    for (i64 r = row0, end = std::min(row1, plan.running(t)); r < end; r += V) {
      const i64 at = (plan.row(t, r) - plan.row(block_start, 0)) * n;
      const T* before = b.saved + (t == t0 ? r : plan.lead() + plan.row(t - 1, r) - base) * n;
      LaneSums image, state;
      for (i64 p = 0; p < panels; ++p) {
        T* v = w.omega_rows + p * w.dgates_panel + at;
        const T *d = of_state + p * w.dgates_panel + at, *h = before + p * b.panel;
        const i64 real = std::min(n, net.H() - p * n) * V;
        if (kind == CellInfo::Omega::leaky)
          for (i64 j = 0; j < real; ++j) v[j] += (T(1) - b.setting[p * n + j]) * d[j];
        else if (kind == CellInfo::Omega::relu)
          for (i64 j = 0; j < real; ++j) v[j] = h[j] > T(0) ? v[j] : T(0);
        else
          for (i64 j = 0; j < real; ++j) v[j] *= T(1) - h[j] * h[j];
        image.add_squares(real, v);
        state.add_squares(real, d);
      }
      T unit[LaneSums::width] = {}, factor[LaneSums::width] = {};  // their product may overflow
      for (i64 k = 0; k < std::min(V, end - r); ++k) {
        double& value = w.omega_values[at / n + k];
        value = 0;
        const auto norm = [&](const LaneSums& sums, const T* matrix) {
          const double squares = sums.of(k, V);
          return squares > 1 / far && squares < far ? std::sqrt(squares)
                                                    : careful_norm(net, w, matrix + at, w.dgates_panel, k);
        };
        const double from = norm(state, of_state), to = norm(image, w.omega_rows);
        if (t == 0 || !(from >= least)) continue;  // no state before, or no gradient arrives here
        const double ratio = to / from;
        value = (ratio - 1) * (ratio - 1);
        if (to == 0) continue;
        for (i64 j = k; j < LaneSums::width; j += V) {
          unit[j] = T(1 / to);
          factor[j] = T(2 * w.omega * (ratio - 1) / from);
        }
      }
      for (i64 p = 0; p < panels; ++p) {
        T* v = w.omega_rows + p * w.dgates_panel + at;
        const T* h = before + p * b.panel;
        const i64 real = std::min(n, net.H() - p * n) * V;
        if (kind == CellInfo::Omega::tanh)
          for (i64 j = 0; j < real; ++j) v[j] *= T(1) - h[j] * h[j];
        for (i64 j = 0; j < real; ++j) v[j] = h[j] + unit[j % LaneSums::width] * v[j] * factor[j % LaneSums::width];
      }
    }
}

// The values of all terms
template <class T>
[[gnu::cold]] void give_activity(const Net<T>& net, const Workspace<T>& w, const ActivityPenalties& given) {
  const double scale[] = {w.activity.l1, w.activity.l2, w.activity.change};
  for (int s = 0; s < ActivityScales::terms; ++s) {
    double total = 0;
    for (i64 i = 0; w.activity.on && i < static_cast<i64>(net.layer_directions.size()); ++i)
      for (i64 b = 0; b < w.plan.batch; ++b)
        total += w.activity_sums[(i * ActivityScales::terms + s) * w.plan.lead() + b];
    given.values[s] = scale[s] * total;
  }
  double total = 0;
  for (const double sum : w.omega_sums) total += sum;
  given.values[ActivityScales::terms] = w.omega * total;
}

}  // namespace fastbptt

#endif
