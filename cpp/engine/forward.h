// The forward pass of all layers over a window of time: states, checkpoints, outputs.
#ifndef FASTBPTT_ENGINE_FORWARD_H
#define FASTBPTT_ENGINE_FORWARD_H

#include "engine/dropout.h"
#include "engine/layer_directions.h"
#include "engine/noise.h"
#include "engine/pooling.h"
#include "engine/units.h"

namespace fastbptt {

template <class T>
ForwardArgs<T> forward_args(const Net<T>& net, Workspace<T>& w, std::size_t i, const RowSchedule& s, i64 window,
                            const OutputArgs<T>* each_step) {
  const LayerBuffers<T>& b = w.layers[i];
  ForwardArgs<T> a{};
  a.schedule = &s;
  a.t0 = w.plan.window(window).t0;
  a.t1 = w.plan.window(window).t1;
  a.inputs = net.layer_directions[i].inputs;
  a.hidden = net.H();
  if (net.layer_directions[i].layer == 0) {
    a.x = b.x;
    a.x_stride = w.x_stride;
  } else {
    std::copy_n(b.below, 2, a.below);
    a.below_count = static_cast<int>(net.D());
  }
  a.weights = b.w_forward;
  a.bias = b.bias;
  a.own_weights = w.each > 1;
  a.keep = w.keeps || !net.is_top(net.layer_directions[i]);
  a.saved = b.saved;
  a.recurrent = recurrent_operand(net, b);
  a.candidate = b.candidate;
  a.mask = b.mask;
  a.mask_panel = b.batch_panel;
  a.saved_stride = b.saved_stride;
  a.panel = b.panel;
  a.setting = b.setting;
  a.each_step = each_step;
  a.last = b.last;
  a.last_stride = b.batch_stride;
  a.last_panel = b.batch_panel;
  a.pairs = w.pairs;
  a.stop = &w.stop;
  return a;
}

// The readout of one direction's states, or the states themselves
template <class T>
OutputArgs<T> output_args(const Net<T>& net, const Workspace<T>& w, bool gradient, i64 direction = 0) {
  const LayerDirection& dir = net.layer_directions[size_of(net.top() + direction)];
  const LayerBuffers<T>& b = w.layers[size_of(net.top() + direction)];
  OutputArgs<T> o{};
  o.outputs = net.spec.output_width();
  o.hidden = net.H();
  o.weights = net.O() ? b.w_backward : nullptr;
  o.own_weights = w.each > 1;
  o.weights_panel = net.depth_back(dir) * w.panel;
  o.bias = direction == 0 ? w.b_y : nullptr;
  o.y = direction == 0 ? w.y : w.y_reverse;
  if (gradient) {
    o.dy = w.dy;
    o.dh = net.O() || net.D() == 2 ? nullptr : b.dh;
    o.dh_panel = b.dh_panel;
    o.dy_lanes = w.lanes > 1 && net.O() ? w.dy_lanes : nullptr;
  }
  return o;
}

// All layers over one window, for a worker's sequences or units. pooling: none if it is last or all
template <class T>
void forward_window(const Net<T>& net, Workspace<T>& w, Recursion& recursion, i64 window,
                    const OutputArgs<T>* each_step, i64 row0, i64 row1, Steps pooling = Steps::last) {
  const RowSchedule s = w.plan.schedule();
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
    const bool shows = each_step && net.is_top(net.layer_directions[i]);
    ForwardArgs<T> args = forward_args(net, w, i, s, window, shows ? each_step : nullptr);
    const NoiseArgs<T> noise = w.recurrent_noise > 0 ? noise_args(net, w, i, Keys::sums) : NoiseArgs<T>{};
    if (w.recurrent_noise > 0) args.noise = &noise;
    const ZoneArgs<T> zone = zone_args(net, w, i);
    if (w.zones) args.zone = &zone;
    PoolArgs<T> pool{};
    if (pools(pooling) && net.is_top(net.layer_directions[i])) {
      pool = pool_args(net, w, pooling, i);
      args.pool = &pool;
    }
    recursion.run(row0, row1, [&](UnitShare* units, i64 from, i64 to) {
      args.units = units;
      layer_kernels(w).forward(cell_for(net, w), args, from, to);
    });
    if (!net.is_top(net.layer_directions[i])) show_above(net, w, i, window, row0, row1);
  }
}

// Copies of a layer's states for the layer above: with dropout, and in the order of the other direction
template <class T>
void show_above(const Net<T>& net, Workspace<T>& w, std::size_t i, i64 window, i64 row0, i64 row1) {
  if (!w.drop && net.D() == 1) return;
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& buffers = w.layers[i];
  const BatchPlan& plan = w.plan;
  const i64 n = w.panel, base = plan.row(plan.window(window).t0, 0);
  const Dropout dropout(w.dropout_seed, w.dropout);
  for (i64 t = plan.window(window).t0; t < plan.window(window).t1 && !w.stop.reached(); ++t)
    for (i64 b = row0; b < std::min(row1, plan.running(t)); ++b) {
      const i64 other = plan.length(b) - 1 - t, row = plan.row(t, b) - base;
      for (i64 p = 0; p * n < net.H(); ++p) {
        const i64 real = std::min(n, net.H() - p * n);
        const T* h = buffers.saved + p * buffers.panel + (plan.lead() + row) * n;
        if (w.drop) {
          T* to = buffers.dropped + p * buffers.above_panel + row * n;
          dropout.apply(dir.layer, plan.place(b), plan.step(t, b, dir.reverse()), dir.direction * net.H() + p * n, real,
                        h, to);
          h = to;
        }
        if (net.D() == 2) std::copy_n(h, real, buffers.crossed + p * buffers.above_panel + plan.row(other, b) * n);
      }
    }
}

// Checkpoint: the states before a window, kept for its recomputation
template <class T>
void keep_checkpoint(const Net<T>& net, Workspace<T>& w, i64 window, i64 row0, i64 row1) {
  const BatchPlan& plan = w.plan;
  if (plan.windows.size() == 1) return;
  const i64 t0 = plan.window(window).t0, before = window ? plan.window(window - 1).t0 : 0;
  const i64 from = window ? plan.lead() + plan.row(t0 - 1, 0) - plan.row(before, 0) : 0;
  copy_states(net, w, window, row0, plan.whole(std::min(row1, plan.running(t0))), from, true);
  if (window) copy_states(net, w, window, row0, plan.whole(std::min(row1, plan.running(t0))), 0, false);
}

// The states before a window become its first rows, where nothing is recomputed
template <class T>
void carry_states(const Net<T>& net, Workspace<T>& w, i64 window, i64 row0, i64 row1) {
  const BatchPlan& plan = w.plan;
  if (window == 0) return;
  const i64 t0 = plan.window(window).t0, before = plan.window(window - 1).t0,
            end = plan.whole(std::min(row1, plan.running(t0)));
  for (std::size_t i = 0; i < net.layer_directions.size() && row0 < end; ++i) {
    const LayerBuffers<T>& b = w.layers[i];
    const bool keep = w.keeps || !net.is_top(net.layer_directions[i]);
    const i64 from = keep ? plan.lead() + plan.row(t0 - 1, 0) - plan.row(before, 0) : (t0 - before) % 2 * plan.lead();
    for (int s = 0; s < net.info.states && from != 0; ++s)
      for (i64 p = 0; p < panels_of(net, w); ++p) {
        T* states = b.saved + s * b.saved_stride + p * b.panel;
        std::copy_n(states + (from + row0) * w.panel, (end - row0) * w.panel, states + row0 * w.panel);
      }
  }
}

template <class T>
void restore_checkpoint(const Net<T>& net, Workspace<T>& w, i64 window, i64 row0, i64 row1) {
  copy_states(net, w, window, row0, w.plan.whole(std::min(row1, w.plan.running(w.plan.window(window).t0))), 0, false);
}

// Copies between the rows of saved from `row` on and a checkpoint
template <class T>
void copy_states(const Net<T>& net, Workspace<T>& w, i64 window, i64 row0, i64 row1, i64 row, bool keep) {
  const i64 n = w.panel, panels = panels_of(net, w), size = w.plan.lead() * n;
  for (i64 i = 0; i < static_cast<i64>(net.layer_directions.size()) && row0 < row1; ++i) {
    const LayerBuffers<T>& b = w.layers[size_of(i)];
    for (int s = 0; s < net.info.states; ++s)
      for (i64 p = 0; p < panels; ++p) {
        T* states = b.saved + s * b.saved_stride + p * b.panel + (row + row0) * n;
        T* checkpoint = b.checkpoints + ((window * net.info.states + s) * panels + p) * size + row0 * n;
        keep ? std::copy_n(states, (row1 - row0) * n, checkpoint) : std::copy_n(checkpoint, (row1 - row0) * n, states);
      }
  }
}

// A window's outputs into the caller's array (B, T, width), zero after the ends
template <class T>
void give_outputs(const Net<T>& net, Workspace<T>& w, i64 window, i64 row0, i64 row1, const RowTarget& out) {
  const BatchPlan& plan = w.plan;
  const i64 width = net.spec.output_width(), t0 = plan.window(window).t0, base = plan.row(t0, 0);
  for (i64 b = row0; b < row1 && !w.stop.reached(); ++b) {
    const i64 length = plan.length(b), t1 = std::min(plan.window(window).t1, length);
    for (i64 t = t0; t < t1; ++t)
      std::copy_n(w.y + (plan.row(t, b) - base) * width, width, row_of(w, out, b, t, width));
    if (t0 == 0) clear_after_end(w, out, b, width);
  }
}

// One output for each of the caller's sequences into (B, width)
template <class T>
void give_one(const Net<T>& net, const Workspace<T>& w, i64 row0, i64 row1, T* out) {
  const i64 width = net.spec.output_width();
  for (i64 b = row0; b < row1; ++b)
    if (w.plan.is_last(b)) std::copy_n(w.y_last + b * width, width, out + w.plan.place(b) * width);
}

// The outputs of the final states, or of the pooled ones, and the loss if o requests it
template <class T>
void last_outputs(const Net<T>& net, Workspace<T>& w, OutputArgs<T> o, T* y, i64 row0, i64 row1,
                  Steps steps = Steps::last) {
  o.y = y;
  if (net.D() == 2) return joined_outputs(net, w, o, steps, row0, row1);
  const LayerBuffers<T>& top = w.layers[size_of(net.top())];
  layer_kernels(w).outputs(o, states_of_sequences(top, steps), top.batch_panel, row0, row0, row0, row1 - row0);
}

// The outputs from both directions, of all steps, of the final states or of the pooled ones, and the loss if o requests
// it
template <class T>
void joined_outputs(const Net<T>& net, Workspace<T>& w, const OutputArgs<T>& o, Steps of, i64 row0, i64 row1) {
  const BatchPlan& plan = w.plan;
  const bool all = of == Steps::all;
  const i64 steps = all ? plan.steps : 1, width = o.outputs;
  const auto end = [&](i64 t) { return all ? std::min(row1, plan.running(t)) : row1; };
  const auto row = [&](i64 t, i64 b) { return all ? plan.row(t, b) : b; };
  const auto states = [&](i64 d) {
    const LayerBuffers<T>& b = w.layers[size_of(net.top() + d)];
    return all ? std::pair<const T*, i64>{b.saved + plan.lead() * w.panel, b.panel}
               : std::pair<const T*, i64>{states_of_sequences(b, of), b.batch_panel};
  };
  for (i64 d = 0; net.O() && d < net.D(); ++d) {
    OutputArgs<T> part = output_args(net, w, false, d);
    if (d == 0) part.y = o.y;
    for (i64 t = 0; t < steps && row0 < end(t) && !w.stop.reached(); ++t)
      layer_kernels(w).outputs(part, states(d).first, states(d).second, row(t, row0), row(t, row0), row0,
                               end(t) - row0);
  }
  for (i64 t = 0; t < steps && !w.stop.reached(); ++t)
    for (i64 b = row0; b < end(t); ++b) {
      T* y = o.y + row(t, b) * width;
      const i64 other = row(all ? plan.length(b) - 1 - t : 0, b);
      for (i64 j = 0; j < net.O(); ++j) y[j] += w.y_reverse[other * width + j];
      for (i64 d = 0; !net.O() && d < net.D(); ++d)
        read_row(w, net.H(), states(d).first, states(d).second, d ? other : row(t, b), y + d * net.H());
    }
  for (i64 t = 0; o.loss && t < steps && row0 < end(t) && !w.stop.reached(); ++t)
    o.loss->rows(o, row(t, row0), row0, end(t) - row0);
}

}  // namespace fastbptt

#endif
