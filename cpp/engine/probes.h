// Probes of the backward pass: gradient norms per step, or the gradients and saved activations themselves.
#ifndef FASTBPTT_ENGINE_PROBES_H
#define FASTBPTT_ENGINE_PROBES_H

#include <algorithm>
#include <cmath>

#include "engine/layer_directions.h"

namespace fastbptt {

// The norms of a block's steps, after all workers have finished it; each of the caller's steps belongs to one worker
template <class T>
void record_norms(const Net<T>& net, const Workspace<T>& w, int number, int team, std::size_t i,
                  const BatchPlan::Block& block, const Probes& record) {
  const Kernels<T>& k = kernels_for(w);
  const BatchPlan& plan = w.plan;
  const bool reverse = net.layer_directions[i].reverse();
  const auto add = [](double& to, double norm) { to = to == 0 ? norm : std::hypot(to, norm); };
  for (i64 t = block.t1 - 1; t >= block.t0; --t)
    for (i64 b = 0, end = 0; b < plan.running(t); b = end) {
      // in reverse sequences of equal length are at the same step, without resets all sequences
      end = reverse || plan.episodes ? b + 1 : plan.running(t);
      while (end < plan.running(t) && !plan.episodes && plan.length(end) == plan.length(b)) ++end;
      const i64 step = plan.step(t, b, reverse);
      if (step % team != number) continue;
      const double* squares = w.squares + (plan.row(t, b) - plan.row(block.t0, 0)) * 2 * k.squares;
      const i64 at = static_cast<i64>(i) * plan.time + step;
      if (record.hidden) add(record.hidden[at], k.root(squares, 2 * k.squares, end - b));
      if (record.gates) add(record.gates[at], k.root(squares + k.squares, 2 * k.squares, end - b));
    }
}

// Rows of `count` matrices of a worker's sequences at steps t0 .. t1 into (directions, count, B, T, H). row0: where the
// row of step t0 of the first sequence stands
template <class T>
void record_rows(const Net<T>& net, const Workspace<T>& w, i64 b0, i64 b1, std::size_t i, i64 t0, i64 t1, const T* from,
                 i64 stride, i64 panel, i64 count, i64 row0, void* out) {
  const BatchPlan& plan = w.plan;
  for (i64 j = 0; out && j < count; ++j)
    for (i64 t = t0; t < t1; ++t)
      for (i64 b = b0; b < std::min(b1, plan.running(t)); ++b) {
        const i64 step = plan.step(t, b, net.layer_directions[i].reverse()),
                  to = ((static_cast<i64>(i) * count + j) * plan.callers_batch + plan.place(b)) * plan.time + step;
        read_row(w, net.H(), from + j * stride, panel, row0 + plan.row(t, b) - plan.row(t0, 0),
                 static_cast<T*>(out) + to * net.H());
      }
}

// A worker's gradients of one block
template <class T>
void record_block(const Net<T>& net, const Workspace<T>& w, i64 b0, i64 b1, std::size_t i,
                  const BatchPlan::Block& block, const Probes& record) {
  if (w.dh_kept)
    record_rows(net, w, b0, b1, i, block.t0, block.t1, w.dh_kept, w.dgates_stride, w.dgates_panel, 1, 0,
                record.d_hidden);
  record_rows(net, w, b0, b1, i, block.t0, block.t1, w.dgates, w.dgates_stride, w.dgates_panel, net.info.preactivations,
              0, record.d_gates);
}

// The results of the forward pass over a window: states, gates, and the gradients of its outputs
template <class T>
void record_window(const Net<T>& net, const Workspace<T>& w, i64 b0, i64 b1, i64 window, bool all_steps,
                   const Probes& record) {
  const BatchPlan& plan = w.plan;
  const i64 t0 = plan.window(window).t0, t1 = plan.window(window).t1, width = net.spec.output_width();
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    record_rows(net, w, b0, b1, i, t0, t1, w.layers[i].saved, w.layers[i].saved_stride, w.layers[i].panel,
                net.info.saved, plan.lead(), record.saved);
  auto* out = static_cast<T*>(record.outputs);
  for (i64 b = b0; out && !all_steps && window == 0 && b < b1; ++b)
    if (plan.is_last(b)) std::copy_n(w.dy + b * width, width, out + plan.place(b) * width);
  for (i64 t = t0; out && all_steps && t < t1; ++t)
    for (i64 b = b0; b < std::min(b1, plan.running(t)); ++b)
      std::copy_n(w.dy + (plan.row(t, b) - plan.row(t0, 0)) * width, width, out + (plan.position(b) + t) * width);
}

}  // namespace fastbptt

#endif
