// Backpropagation through time (BPTT) of all layers over a window of time, and the gradients of all parameters. The
// recursion of one layer direction is in kernels/backward.inc.
#ifndef FASTBPTT_ENGINE_BACKWARD_H
#define FASTBPTT_ENGINE_BACKWARD_H

#include "engine/activity.h"
#include "engine/dropout.h"
#include "engine/packing.h"
#include "engine/pooling.h"
#include "engine/layer_directions.h"
#include "engine/probes.h"
#include "engine/units.h"
#include "thread_pool.h"

namespace fastbptt {

// Where gradients enter
struct GradientSource {
  bool outputs = false;       // through the outputs ..
  Steps steps = Steps::last;  // .. of these states
  bool hidden = false;        // at the hidden states of the top layer, at all steps
  bool all_steps() const { return steps == Steps::all; }
};

// A worker of the thread team, and how far back its gradients reach
struct Worker {
  int number, team;
  Barrier& barrier;
  Recursion& recursion;
  i64 row0, row1;
  std::vector<char> stopped;  // by layer direction: nothing flows back any more; the same for all workers
  std::vector<i64> enters;    // by layer direction: the earliest step at which a gradient enters from above
};

// Whether dh of the top layer has a row for each step, or one for each sequence
template <class T>
bool dh_each_step(const Net<T>& net, const GradientSource& source) {
  return source.hidden || (!net.O() && source.outputs && source.all_steps());
}

template <class T>
BackwardArgs<T> backward_args(const Net<T>& net, Workspace<T>& w, std::size_t i, const RowSchedule& s, i64 window,
                              const GradientSource& source) {
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& b = w.layers[i];
  BackwardArgs<T> a{};
  a.schedule = &s;
  a.t_first = w.plan.window(window).t0;
  a.hidden = net.H();
  a.outputs = net.readout_of(dir);
  a.weights = b.w_backward + (w.lanes > 1 ? a.outputs * w.panel * w.each : 0);
  a.own_weights = w.each > 1;
  a.saved = b.saved;
  a.candidate = b.candidate;
  a.kept = b.kept;
  a.mask = b.mask;
  a.mask_panel = b.batch_panel;
  a.saved_stride = b.saved_stride;
  a.panel = b.panel;
  a.window = w.plan.row(a.t_first, 0);
  if (net.is_top(dir) && pools(source.steps)) {
    a.dh = source.steps == Steps::mean ? b.d_pooled : b.dh;
    a.dh_shared = source.steps == Steps::mean;
    a.dh_each_step = source.steps == Steps::max;
  } else if (net.is_top(dir)) {
    if (net.O() && source.outputs) a.dy = dir.reverse() && source.all_steps() ? w.dy_reverse : w.dy;
    a.dy_each_step = source.all_steps();
    a.dy_lanes = w.dy_lanes;
    if (w.d_final || source.hidden || (!net.O() && source.outputs)) a.dh = b.dh;
    a.dh_each_step = dh_each_step(net, source);
  } else {
    a.dh = b.dh;
    a.dh_each_step = true;
  }
  if (w.activity.on) {  // enters at each step
    a.dh = b.dh;
    a.dh_each_step = true;
    a.dh_shared = false;
  }
  a.dh_panel = a.dh_shared ? b.batch_panel : b.dh_panel;
  a.dgates = w.dgates;
  a.dgates_stride = w.dgates_stride;
  a.dgates_panel = w.dgates_panel;
  a.next = b.next;
  a.next_stride = a.carry_stride = b.batch_stride;
  a.next_panel = a.carry_panel = b.batch_panel;
  a.carry = b.carry;
  a.carry_enters = w.carry_enters;
  a.dh_kept = w.dh_kept;
  a.squares = w.squares;
  a.pairs = w.pairs;
  a.stop = &w.stop;
  a.setting = b.setting;
  a.learns_setting = net.spec.learn_setting;
  return a;
}

// dy in lanes, for a worker's sequences
template <class T>
void spread_to_lanes(const Net<T>& net, Workspace<T>& w, bool all, i64 row0, i64 row1) {
  const i64 O = net.O(), V = w.lanes;
  for (i64 t = 0; t < (all ? w.plan.steps : 1) && !w.stop.reached(); ++t) {
    const i64 end = all ? std::min(row1, w.plan.running(t)) : row1;
    for (i64 b = row0; b < w.plan.whole(end); ++b) {
      const i64 row = all ? w.plan.row(t, b) : b;
      T* to = lane_of(w, w.dy_lanes, O, row);
      for (i64 o = 0; o < O; ++o) to[o * V] = b < end ? w.dy[row * O + o] : T(0);
    }
  }
}

// Gradients that the forward kernels have not written: dy in the order of the reverse direction, or as dh; those of the
// final states
template <class T>
void spread_output_gradient(const Net<T>& net, Workspace<T>& w, const GradientSource& source, i64 row0, i64 row1) {
  const BatchPlan& plan = w.plan;
  const bool all = source.outputs && source.all_steps(), each_step = dh_each_step(net, source);
  const i64 width = net.spec.output_width();
  if (w.lanes > 1 && net.O() && source.outputs) spread_to_lanes(net, w, all, row0, row1);
  for (i64 d = 0; d < net.D(); ++d) {
    const LayerBuffers<T>& buffers = w.layers[size_of(net.top() + d)];
    for (i64 b = row0; b < row1 && !w.stop.reached(); ++b) {
      const i64 length = plan.length(b), end = each_step ? plan.row(length - 1, b) : b;
      for (i64 t = 0; t < (all ? length : 1); ++t) {
        const i64 to = all ? plan.row(d ? length - 1 - t : t, b) : b;
        const T* dy = w.dy + (all ? plan.row(t, b) : b) * width;
        if (net.O()) {
          if (d && all) std::copy_n(dy, width, w.dy_reverse + to * width);
        } else if (source.outputs) {
          to_panels(net, w, dy + d * net.H(), all ? to : end, source.hidden, buffers.dh, buffers.dh_panel);
        }
      }
      if (w.d_final)
        add_row(net, w, buffers.d_final, buffers.batch_panel, b, buffers.dh, buffers.dh_panel, end,
                source.hidden || (!net.O() && source.outputs));
    }
  }
}

// Row `to` of panels = (or +=) row `from` of others
template <class T>
void add_row(const Net<T>& net, const Workspace<T>& w, const T* from_panels, i64 from_panel, i64 from, T* to_panels,
             i64 to_panel, i64 to, bool add) {
  if (w.lanes > 1) {
    const T* a = lane_of(w, from_panels, net.H(), from);
    T* out = lane_of(w, to_panels, net.H(), to);
    for (i64 j = 0; j < net.H() * w.lanes; j += w.lanes) out[j] = (add ? out[j] : T(0)) + a[j];
    return;
  }
  for (i64 p = 0; p < panels_of(net, w); ++p) {
    const T* a = from_panels + p * from_panel + from * w.panel;
    T* out = to_panels + p * to_panel + to * w.panel;
    for (i64 j = 0; j < w.panel; ++j) out[j] = (add ? out[j] : T(0)) + a[j];
  }
}

template <class T>
void start_gradient(const Net<T>& net, T* gradient, int worker, int team) {
  if (!net.spec.vocabulary) return;
  const auto [from, to] = share(net.spec.vocabulary * net.I(), worker, team);
  std::fill(gradient + net.embedding + from, gradient + net.embedding + to, T(0));
}

template <class T>
void backward_window(const Net<T>& net, Workspace<T>& w, Worker& worker, i64 window, const GradientSource& source,
                     const GradientTargets& out, const Probes& probes, T* gradient) {
  if (probes) record_window(net, w, worker.row0, worker.row1, window, source.all_steps(), probes);
  for (i64 layer = net.spec.layers - 1; layer >= 0; --layer)
    for (i64 d = 0; d < net.D(); ++d)
      backward_layer(net, w, worker, size_of(layer * net.D() + d), window, source, out, probes, gradient);
}

// From the end of a window to its start, block by block: the recursion over a worker's own sequences, then its share
// of the weight gradients over all of them.
template <class T>
void backward_layer(const Net<T>& net, Workspace<T>& w, Worker& worker, std::size_t i, i64 window,
                    const GradientSource& source, const GradientTargets& out, const Probes& probes, T* gradient) {
  const BatchPlan& plan = w.plan;
  const RowSchedule s = plan.schedule();
  LayerBuffers<T>& buffers = w.layers[i];
  const BatchPlan::Window& steps = plan.window(window);
  if (!net.is_top(net.layer_directions[i])) enter_from_above(net, w, worker, i, window);
  if (worker.stopped[i]) return clear_below(net, w, worker, i, window, steps.t1, out);
  BackwardArgs<T> args = backward_args(net, w, i, s, window, source);
  const ZoneArgs<T> zone = zone_args(net, w, i);
  if (w.zones) args.zone = &zone;
  for (std::size_t at = steps.block0; at < steps.block1; ++at) {
    const BatchPlan::Block& block = plan.blocks[at];
    args.t0 = block.t0;
    args.t1 = block.t1;
    args.base = plan.row(block.t0, 0);
    // a call that was stopped meets at every barrier, with nothing done between
    if (!w.stop.reached() && net.is_top(net.layer_directions[i]) && source.steps == Steps::max)
      spread_to_maxima(net, w, worker.row0, worker.row1, i, window, block);
    if (!w.stop.reached() && w.activity.on)
      enter_activity(net, w, worker.row0, worker.row1, i, window, block, source.steps);
    worker.recursion.run(worker.row0, worker.row1, [&](UnitShare* units, i64 from, i64 to) {
      args.units = units;
      layer_kernels(w).backward(cell_for(net, w), args, from, to);
    });
    if (!w.stop.reached()) {
      keep_next(net, w, buffers, worker, block.t0);
      if (probes) record_block(net, w, worker.row0, worker.row1, i, block, probes);
      w.vanished[size_of(worker.number)] = !w.activity.on && vanished(net, w, buffers, worker, args, worker.enters[i]);
      input_gradient(net, w, worker, i, window, block, out);
      if (w.omega != 0) omega_gradient(net, w, worker, i, window, block);
      if (block.t0 == 0) state_gradient(net, w, worker, i, s, out);
    }
    worker.barrier.meet();
    if (net.spec.bfloat16) {
      if (!w.stop.reached()) pair_block(net, w, worker, i, window, block);
      worker.barrier.meet();
    }
    if (!w.stop.reached()) {
      if (w.omega != 0 && worker.number == 0)
        plan.for_rows(block.t0, block.t1,
                      [&](i64 r, i64) { w.omega_sums[i] += w.omega_values[r - plan.row(block.t0, 0)]; });
      if (w.squares) record_norms(net, w, worker.number, worker.team, i, block, probes);
      weight_gradient(net, w, worker, i, window, block, source, at > 0);
      embedding_gradient(net, w, worker, i, block, gradient);
    }
    const bool all_zero =
        std::all_of(w.vanished.begin(), w.vanished.begin() + worker.team, [](char v) { return v != 0; });
    worker.barrier.meet();
    if (!all_zero) continue;
    worker.stopped[i] = 1;
    return clear_below(net, w, worker, i, window, block.t0, out);
  }
}

// The gradients of a block's first step, for the block before it
template <class T>
void keep_next(const Net<T>& net, const Workspace<T>& w, const LayerBuffers<T>& buffers, const Worker& worker, i64 t) {
  const i64 n = w.panel, end = w.plan.whole(std::min(worker.row1, w.plan.running(t)));
  for (int j = 0; t > 0 && j < net.info.preactivations && worker.row0 < end; ++j)
    for (i64 p = 0; p < panels_of(net, w) && net.info.preactivation[j].hidden == Preactivation::before; ++p)
      std::copy_n(w.dgates + j * w.dgates_stride + p * w.dgates_panel + worker.row0 * n, (end - worker.row0) * n,
                  buffers.next + j * buffers.batch_stride + p * buffers.batch_panel + worker.row0 * n);
}

// The gradient from the layer above, through dropout, plus that of the final state
template <class T>
void enter_from_above(const Net<T>& net, Workspace<T>& w, const Worker& worker, std::size_t i, i64 window) {
  const BatchPlan& plan = w.plan;
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& buffers = w.layers[i];
  const i64 n = w.panel, t0 = plan.window(window).t0, t1 = plan.window(window).t1, base = plan.row(t0, 0);
  const Dropout dropout(w.dropout_seed, w.dropout);
  for (i64 t = t0; w.drop && t < t1 && !w.stop.reached(); ++t)
    for (i64 b = worker.row0; b < std::min(worker.row1, plan.running(t)); ++b)
      for (i64 p = 0; p * n < net.H(); ++p) {
        T* dh = buffers.dh + p * buffers.dh_panel + (plan.row(t, b) - base) * n;
        dropout.apply(dir.layer, plan.place(b), plan.step(t, b, dir.reverse()), dir.direction * net.H() + p * n,
                      std::min(n, net.H() - p * n), dh, dh);
      }
  for (i64 b = worker.row0; w.d_final && b < worker.row1; ++b)
    if (const i64 t = plan.length(b) - 1; t >= t0 && t < t1)
      add_row(net, w, buffers.d_final, buffers.batch_panel, b, buffers.dh, buffers.dh_panel, plan.row(t, b) - base,
              true);
}

// Whether all gradients at the first step of a block of a worker's sequences are zero and none enters before it
template <class T>
bool vanished(const Net<T>& net, const Workspace<T>& w, const LayerBuffers<T>& buffers, const Worker& worker,
              const BackwardArgs<T>& a, i64 enters) {
  const bool outside = (a.dy && a.dy_each_step) || (a.dh && (a.dh_shared || (a.dh_each_step && a.t0 > enters)));
  if (outside || a.t0 == 0 || worker.row1 > w.plan.running(a.t0)) return false;
  const auto zero = [&](const T* matrix, i64 panel) {
    const i64 rows = w.plan.whole(worker.row1) - worker.row0;
    if (w.lanes > 1) return kernels_for(w).zero(matrix + worker.row0 * w.panel, rows * w.panel);
    for (i64 p = 0; p < panels_of(net, w); ++p) {
      const i64 real = std::min(w.panel, net.H() - p * w.panel);
      const T* rows = matrix + p * panel;
      if (real == w.panel && !kernels_for(w).zero(rows + worker.row0 * w.panel, (worker.row1 - worker.row0) * w.panel))
        return false;
      for (i64 b = worker.row0; real < w.panel && b < worker.row1; ++b)
        if (!kernels_for(w).zero(rows + b * w.panel, real)) return false;
    }
    return true;
  };
  for (int j = 0; j < net.info.preactivations; ++j)
    if (!zero(w.dgates + j * w.dgates_stride, w.dgates_panel)) return false;
  for (int c = 0; c < net.info.carries; ++c)
    if (!zero(buffers.carry + c * buffers.batch_stride, buffers.batch_panel)) return false;
  return !w.zones || zero(buffers.kept, buffers.batch_panel);
}

// Writes zeros where a layer direction stopped before step t and passes no gradient down
template <class T>
void clear_below(const Net<T>& net, const Workspace<T>& w, Worker& worker, std::size_t i, i64 window, i64 t,
                 const GradientTargets& out) {
  const BatchPlan& plan = w.plan;
  const LayerDirection& dir = net.layer_directions[i];
  const i64 t0 = plan.window(window).t0, base = plan.row(t0, 0), n = w.panel;
  if (dir.direction == 0) {
    for (i64 s = 0; dir.layer > 0 && s < net.D(); ++s) {
      const auto below = size_of((dir.layer - 1) * net.D() + s);
      if (net.D() == 1) worker.enters[below] = t;
      const LayerBuffers<T>& buffers = w.layers[below];
      for (i64 step = t0; w.lanes > 1 && step < t; ++step)
        if (const i64 end = plan.whole(std::min(worker.row1, plan.running(step))); end > worker.row0)
          std::fill_n(buffers.dh + (plan.row(step, worker.row0) - base) * n, (end - worker.row0) * n, T(0));
      for (i64 step = t0; w.lanes == 1 && step < t; ++step)
        for (i64 b = worker.row0; b < std::min(worker.row1, plan.running(step)); ++b) {
          const i64 row = plan.row(s ? plan.length(b) - 1 - step : step, b) - base;
          for (i64 p = 0; p < panels_of(net, w); ++p) std::fill_n(buffers.dh + p * buffers.dh_panel + row * n, n, T(0));
        }
    }
    for (i64 b = worker.row0; out.x && dir.layer == 0 && b < std::min(worker.row1, plan.running(t0)); ++b)
      for (i64 step = t0; step < std::min(t, plan.length(b)); ++step)
        std::fill_n(row_of(w, out.x, b, step, net.I()), net.I(), T(0));
  }
  for (int s = net.info.given; window == 0 && s < net.info.states; ++s)
    for (i64 b = worker.row0; initial_target(net, w, out, s, i) && b < worker.row1; ++b)
      std::fill_n(initial_target(net, w, out, s, i) + plan.number_of(b) * net.H(), net.H(), T(0));
}

// Destination of the gradient of a layer direction's initial state, (B, H); null: not requested. With resets it has a
// row for each episode
template <class T>
T* initial_target(const Net<T>& net, const Workspace<T>& w, const GradientTargets& out, int state, std::size_t i) {
  T* all = !out.initial[state] && !net.trains_initial() ? nullptr
           : out.initial[state] && !w.plan.episodes     ? static_cast<T*>(out.initial[state])
                                                        : w.d_initial[state];
  return all ? all + static_cast<i64>(i) * w.plan.batch * net.H() : nullptr;
}

template <class T>
InputGradArgs<T> input_grad_args(const Net<T>& net, const Workspace<T>& w, const RowSchedule& s, i64 t0, i64 t1) {
  InputGradArgs<T> a{};
  a.schedule = &s;
  a.t0 = t0;
  a.t1 = t1;
  a.hidden = net.H();
  a.dgates = w.dgates;
  a.dgates_stride = w.dgates_stride;
  a.dgates_panel = w.dgates_panel;
  a.base = w.plan.row(t0, 0);
  a.own_weights = w.each > 1;
  a.pairs = w.pairs;
  return a;
}

// Where the gradient of each sequence's input begins
template <class T>
void place_input_gradient(Workspace<T>& w, const GradientTargets& out) {
  w.dx_places.clear();
  for (i64 b = 0; out.x && !w.packed && b < w.plan.batch; ++b)
    w.dx_places.push_back(w.plan.place(b) * out.x.sequence + w.plan.step(0, b) * out.x.step);
}

// Of one block: into the user's array, the rows of the embedding, or the layer below
template <class T>
void input_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i, i64 window,
                    const BatchPlan::Block& block, const GradientTargets& out) {
  const BatchPlan& plan = w.plan;
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& buffers = w.layers[i];
  const RowSchedule s = plan.schedule();
  InputGradArgs<T> a = input_grad_args(net, w, s, block.t0, block.t1);
  i64 row0 = worker.row0, row1 = worker.row1;
  if (worker.recursion.shares_units()) {  // then some steps of all sequences
    const auto [from, to] = share(block.t1 - block.t0, worker.number, worker.team);
    a.t0 = block.t0 + from;
    a.t1 = block.t0 + to;
    row0 = 0;
    row1 = plan.batch;
  }
  a.add = dir.reverse();
  a.weights_rows = net.with_input * net.H();
  a.weights_panel = a.weights_rows * w.panel;
  for (i64 source = 0; dir.layer > 0 && source < net.D(); ++source) {
    const LayerBuffers<T>& below = w.layers[size_of((dir.layer - 1) * net.D() + source)];
    a.columns = net.H();
    a.weights = buffers.w_input[source];
    a.lengths = source == dir.direction ? nullptr : plan.lengths.data();
    a.out_row = w.panel;
    a.out_base = plan.row(plan.window(window).t0, 0);
    a.out_panel = below.dh_panel;
    a.out = below.dh;
    a.out_in_lanes = w.lanes > 1;
    layer_kernels(w).input_grad(cell_for(net, w), a, row0, row1);
  }
  if (dir.layer > 0) return;
  a.columns = net.I();
  a.weights = buffers.w_input[0];
  a.out_panel = w.panel;
  a.out_row = net.I();
  if (net.trains_embedding()) {
    a.add = false;
    a.out_base = a.base;
    a.out = buffers.dx;
    layer_kernels(w).input_grad(cell_for(net, w), a, row0, row1);
  }
  if (!out.x) return;
  if (block.t1 == plan.steps && !dir.reverse())
    for (i64 b = worker.row0; b < worker.row1; ++b) clear_after_end(w, out.x, b, net.I());
  a.lengths = dir.reverse() ? plan.lengths.data() : nullptr;
  a.order = w.packed ? nullptr : w.dx_places.data();
  a.out_sequence = 1;
  if (!w.packed) a.out_row = out.x.step;
  a.out_base = 0;
  a.out = static_cast<T*>(out.x.data);
  layer_kernels(w).input_grad(cell_for(net, w), a, row0, row1);
}

// The gradient of a sequence's first state through h, which is a function of it, from that of h
template <class T>
void show_initial_back(const Net<T>& net, const Workspace<T>& w, const LayerBuffers<T>& buffers, i64 b, T* d) {
  RowOfStates<T> row(net, w);
  read_row(w, net.H(), buffers.saved, buffers.panel, b, row.h());
  std::copy_n(d, net.H(), row.d());
  cell_for(net, w).show_back(row.args());
  std::copy_n(row.d(), net.H(), d);
}

// The left operand of the gradient of W_hh with Omega
template <class T>
[[gnu::cold]] void omega_gradient(const Net<T>& net, Workspace<T>& w, const Worker& worker, std::size_t i, i64 window,
                                  const BatchPlan::Block& block) {
  const RowSchedule s = w.plan.schedule();
  const LayerDirection& dir = net.layer_directions[i];
  InputGradArgs<T> a = input_grad_args(net, w, s, block.t0, block.t1);
  i64 row0 = worker.row0, row1 = worker.row1;
  if (worker.recursion.shares_units()) {
    const auto [from, to] = share(block.t1 - block.t0, worker.number, worker.team);
    a.t0 = block.t0 + from;
    a.t1 = block.t0 + to;
    row0 = 0;
    row1 = w.plan.batch;
  }
  a.initial = true;
  a.columns = net.H();
  a.weights_skip = net.readout_of(dir);
  a.weights_rows = net.depth_back(dir);
  a.weights = w.layers[i].w_backward + a.weights_skip * w.panel;
  a.weights_panel = a.weights_rows * w.panel;
  a.out_row = w.panel;
  a.out_base = a.base;
  a.out_panel = w.dgates_panel;
  a.out = w.omega_rows;
  a.out_in_lanes = w.lanes > 1;
  layer_kernels(w).input_grad(cell_for(net, w), a, row0, row1);
  omega_steps(net, w, row0, row1, i, window, block.t0, a.t0, a.t1);
}

template <class T>
void state_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i, const RowSchedule& s,
                    const GradientTargets& out) {
  const LayerBuffers<T>& buffers = w.layers[i];
  std::vector<T> carry;
  for (int state = net.info.given; state < net.info.states; ++state) {
    T* target = initial_target(net, w, out, state, i);
    if (!target) continue;
    if (state == net.info.given) {
      InputGradArgs<T> a = input_grad_args(net, w, s, 0, 1);
      a.initial = true;
      a.columns = net.H();
      const i64 readout = net.readout_of(net.layer_directions[i]);
      a.weights = buffers.w_backward + readout * w.panel * w.each;
      a.weights_rows = net.depth_back(net.layer_directions[i]);
      a.weights_skip = readout;
      a.weights_panel = net.depth_back(net.layer_directions[i]) * w.panel;
      a.order = w.plan.order.data();
      a.out_sequence = net.H();
      a.out_panel = w.panel;
      a.out = target;
      layer_kernels(w).input_grad(cell_for(net, w), a, worker.row0, worker.row1);
    }
    std::vector<T> mask(size_of(net.H()));
    for (i64 b = worker.row0; b < worker.row1; ++b) {
      T* to = target + w.plan.number_of(b) * net.H();
      if (buffers.mask && state == net.info.given) {
        read_row(w, net.H(), buffers.mask, buffers.batch_panel, b, mask.data());
        for (i64 j = 0; j < net.H(); ++j) to[j] *= mask[size_of(j)];
      }
      if (state > net.info.given) std::fill_n(to, net.H(), T(0));
      if (state == 1 && net.info.given == 1) show_initial_back(net, w, buffers, b, to);
      if (w.zones && state == 0) {
        carry.resize(size_of(net.H()));
        read_row(w, net.H(), buffers.kept, buffers.batch_panel, b, carry.data());
        for (i64 j = 0; j < net.H(); ++j) to[j] += carry[size_of(j)];
      }
      for (int c = 0; c < net.info.carries; ++c) {
        if (net.info.carry_state[c] != state) continue;
        carry.resize(size_of(net.H()));
        read_row(w, net.H(), buffers.carry + c * buffers.batch_stride, buffers.batch_panel, b, carry.data());
        for (i64 j = 0; j < net.H(); ++j) to[j] += carry[size_of(j)];
      }
    }
  }
}

// Calls f(task) for a worker's share of the tasks that `want` selects
template <class T, class Want, class F>
void for_tasks(const LayerBuffers<T>& b, const Worker& worker, const Want& want, const F& f) {
  const auto [column0, column1] = share(b.task_columns, worker.number, worker.team);
  i64 column = 0;
  for (const GradientTask& task : b.tasks) {
    if (column >= column0 && column < column1 && want(task)) f(task);
    column += task.columns;
  }
}

// Rows of pre-activation j's part of dw before it, in each panel: of the input, of the hidden operand, of the bias
template <class T>
i64 gradient_offset(const Net<T>& net, const Workspace<T>& w, const LayerDirection& dir, int preactivation) {
  i64 rows = 0;
  for (int j = 0; j < preactivation; ++j) rows += gradient_rows(net, dir, j);
  return rows * panels_of(net, w) * w.panel;
}

template <class T>
i64 gradient_rows(const Net<T>& net, const LayerDirection& dir, int j) {
  if (j == net.info.preactivations) return 1;  // of the cell's number
  return net.inputs_of(net.info.preactivation[j], dir) + net.hidden_of(net.info.preactivation[j]) + 1;
}

// What the weight gradients of a block multiply, as pairs of its rows 2p and 2p + 1: a worker's share of them
template <class T>
void pair_block(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i, i64 window,
                const BatchPlan::Block& block) {
  const Kernels<T>& k = kernels_for(w);
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& b = w.layers[i];
  const i64 n = w.panel, first = w.plan.row(block.t0, 0) - w.plan.row(w.plan.window(window).t0, 0);
  const auto mine = share((block.rows + 1) / 2, worker.number, worker.team);
  // row(r): where row r of the block stands in panel 0; the columns of panel p follow at p * panel
  const auto add = [&](const PairBuffer& buffer, int slot, i64 columns, i64 panel, const auto& row) {
    for (i64 p = 0; p * n < columns; ++p)
      for (i64 at = mine.first; at < mine.second; ++at)
        k.pair_rows(row(2 * at) + p * panel, 2 * at + 1 < block.rows ? row(2 * at + 1) + p * panel : nullptr,
                    std::min(n, columns - p * n), buffer.rows + slot * buffer.slot + p * buffer.panel + at * n);
  };
  const auto straight = [n](const T* rows, i64 from) { return [=](i64 r) { return rows + (from + r) * n; }; };
  if (dir.layer == 0) add(w.block_inputs, 0, net.I(), n, [&](i64 r) { return b.x + (first + r) * w.x_stride; });
  for (int s = 0; dir.layer > 0 && s < net.D(); ++s)
    add(w.block_inputs, s, net.H(), b.below[s].panel, straight(b.below[s].rows, first));
  const Run* run = w.plan.runs.data() + block.run0;
  const auto before = [&](i64 r) {
    while (r >= run->g + run->count) ++run;
    while (r < run->g) --run;
    return recurrent_operand(net, b) + (run->a + r - run->g) * n;
  };
  int done = -1;  // the last stage whose hidden operand is there
  for (int j = 0; j < net.info.preactivations; ++j) {
    const Preactivation& preactivation = net.info.preactivation[j];
    add(w.block_gates, j, net.H(), w.dgates_panel, straight(w.dgates + j * w.dgates_stride, 0));
    if (preactivation.hidden == Preactivation::none || preactivation.stage == done) continue;
    done = preactivation.stage;
    if (preactivation.hidden == Preactivation::before)
      add(w.block_inputs, PairBuffer::hidden + done, net.H(), b.panel, before);
    else
      add(w.block_inputs, PairBuffer::hidden + done, net.H(), b.panel,
          straight(b.saved + preactivation.hidden * b.saved_stride, w.plan.lead() + first));
  }
}

// The same product, of what pair_block left
template <class T>
WeightGradArgs<T, Pair> of_pairs(const Workspace<T>& w, const WeightGradArgs<T>& a, const Preactivation& preactivation,
                                 const GradientTask& t, const Run& run) {
  const PairBuffer &left = w.block_inputs, &right = w.block_gates;
  const i64 slot = t.kind == GradientTask::hidden ? PairBuffer::hidden + preactivation.stage : t.source;
  return {.a = left.rows + slot * left.slot + t.operand * left.panel + t.column,
          .a_stride = w.panel,
          .a_columns = a.a_columns,
          .g = right.rows + t.preactivation * right.slot + t.panel * right.panel,
          .g_columns = a.g_columns,
          .runs = &run,
          .run_count = 1,
          .c = a.c,
          .add = a.add};
}

template <class T>
void weight_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i, i64 window,
                     const BatchPlan::Block& block, const GradientSource& source, bool add) {
  if (w.lanes > 1) return lane_gradient(net, w, worker, i, window, block, source, add);
  static constexpr T one[1] = {1};
  const Kernels<T>& k = kernels_for(w);
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& b = w.layers[i];
  const i64 n = w.panel, first = w.plan.row(block.t0, 0) - w.plan.row(w.plan.window(window).t0, 0);
  const Run straight{first, 0, block.rows}, of_saved{w.plan.lead() + first, 0, block.rows}, of_block{0, 0, block.rows},
      pairs{0, 0, (block.rows + 1) / 2};
  const auto wanted = [](const GradientTask& t) { return t.kind != GradientTask::output; };
  for_tasks(b, worker, wanted, [&](const GradientTask& t) {
    // the cell's number has none
    const Preactivation& preactivation = net.info.preactivation[t.kind == GradientTask::setting ? 0 : t.preactivation];
    WeightGradArgs<T> a{};
    a.a_columns = t.columns;
    a.g = w.dgates + t.preactivation * w.dgates_stride + t.panel * w.dgates_panel;
    a.g_columns = std::min(n, net.H() - t.panel * n);
    a.runs = &straight;
    a.run_count = 1;
    a.c = b.dw + gradient_offset(net, w, dir, t.preactivation) + t.panel * gradient_rows(net, dir, t.preactivation) * n;
    a.add = add;
    const i64 inputs = net.inputs_of(preactivation, dir), column = t.operand * n + t.column;
    switch (t.kind) {
      case GradientTask::input:
        a.a = b.x + column;
        a.a_stride = w.x_stride;
        a.c += column * n;
        break;
      case GradientTask::below:
        a.a = b.below[t.source].rows + t.operand * b.below[t.source].panel + t.column;
        a.a_stride = n;
        a.c += (t.source * net.H() + column) * n;
        break;
      case GradientTask::hidden:
        a.a = preactivation.hidden == Preactivation::before ? recurrent_operand(net, b)
                                                            : b.saved + preactivation.hidden * b.saved_stride;
        a.a += t.operand * b.panel + t.column;
        a.a_stride = n;
        if (w.omega != 0) {
          a.a = w.omega_rows + t.operand * w.dgates_panel + t.column;
          a.runs = &of_block;
        } else if (preactivation.hidden == Preactivation::before) {
          a.runs = w.plan.runs.data() + block.run0;
          a.run_count = static_cast<i64>(block.run1 - block.run0);
        } else {
          a.runs = &of_saved;
        }
        a.c += (inputs + column) * n;
        break;
      case GradientTask::setting:
        a.a = one;
        break;
      default:
        a.a = one;
        a.c += (inputs + net.hidden_of(preactivation)) * n;
    }
    if (net.spec.bfloat16 && t.kind != GradientTask::bias && t.kind != GradientTask::setting)
      k.weight_grad_pairs(of_pairs(w, a, preactivation, t, pairs));
    else
      k.weight_grad(a);
  });
  if (!net.is_top(dir) || !net.O() || !source.outputs || !source.all_steps()) return;
  const T* dy = dir.reverse() ? w.dy_reverse : w.dy;
  output_gradient(net, w, worker, i, b.saved, b.panel, w.plan.lead(), dy, {first, first, block.rows}, add);
  if (!dir.reverse()) output_bias_gradient(net, w, worker, window, block);
}

// A worker's share of the sum of dy over a block: of every fourth row, then of the four sums, none of which waits for
// another
template <class T>
void output_bias_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, i64 window,
                          const BatchPlan::Block& block) {
  const auto [o0, o1] = share(net.O(), worker.number, worker.team);
  const i64 base = w.plan.row(w.plan.window(window).t0, 0);
  for (i64 o = o0; o < o1; ++o) {
    double a = w.db_y[o], b = 0, c = 0, d = 0;
    const auto value = [&](i64 r) { return double(w.dy[(r - base) * net.O() + o]); };
    for (i64 t = block.t0; t < block.t1; ++t) {
      i64 r = w.plan.row(t, 0);
      const i64 end = r + w.plan.running(t);
      for (; r < end && r % 4 != 0; ++r) (r % 4 == 1 ? b : r % 4 == 2 ? c : d) += value(r);
      for (; r + 4 <= end; r += 4) {
        a += value(r);
        b += value(r + 1);
        c += value(r + 2);
        d += value(r + 3);
      }
      for (; r < end; ++r) (r % 4 == 0 ? a : r % 4 == 1 ? b : c) += value(r);
    }
    w.db_y[o] = (a + b) + (c + d);
  }
}

// The weight gradients of a block in lanes: sums for each lane, in dw one after the other for the input, the hidden
// operands of both stages, and the bias
template <class T>
void lane_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i, i64 window,
                   const BatchPlan::Block& block, const GradientSource& source, bool add) {
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& b = w.layers[i];
  const i64 H = net.H(), first = w.plan.row(block.t0, 0) - w.plan.row(w.plan.window(window).t0, 0);
  const Run straight{first, 0, block.rows}, of_saved{w.plan.lead() + first, 0, block.rows}, of_block{0, 0, block.rows};
  const auto wanted = [](const GradientTask& t) { return t.kind != GradientTask::output; };
  for_tasks(b, worker, wanted, [&](const GradientTask& t) {
    const std::vector<i64>& places = w.gate_places[t.kind];
    LaneGradArgs<T> a{};
    a.column0 = t.column;
    a.column1 = t.column + t.columns;
    a.g = w.dgates;
    a.g_columns = H;
    a.g_place = places.data();
    a.right = static_cast<i64>(places.size());
    a.runs = &straight;
    a.run_count = 1;
    a.c = b.dw + lane_gradient_offset(net, w, dir, t.kind);
    a.add = add;
    a.a_columns = dir.layer ? H : dir.inputs;
    switch (t.kind) {
      case GradientTask::input:
        a.a = b.x;
        break;
      case GradientTask::below:
        a.a = b.below[0].rows;
        break;
      case GradientTask::hidden:
        a.a = w.omega != 0 ? w.omega_rows : b.saved;
        a.a_columns = H;
        a.runs = w.omega != 0 ? &of_block : w.plan.runs.data() + block.run0;
        a.run_count = w.omega != 0 ? 1 : static_cast<i64>(block.run1 - block.run0);
        break;
      case GradientTask::later:
        a.a = b.saved + later_operand(net.info) * b.saved_stride;
        a.a_columns = H;
        a.runs = &of_saved;
        break;
      default:
        break;  // ones
    }
    lane_products(w, a, lane_sums(net, w, dir));
  });
  if (!net.is_top(dir) || !net.O() || !source.outputs || !source.all_steps()) return;
  output_gradient(net, w, worker, i, b.saved, 0, w.plan.lead(), w.dy, {first, first, block.rows}, add);
  w.each > 1 ? own_bias_gradients(net, w, block) : output_bias_gradient(net, w, worker, window, block);
}

// Where a weight gradient is several sums, of each so many rows of groups; chain: elements from one sum's to the next's
template <class T>
void lane_products(const Workspace<T>& w, LaneGradArgs<T> a, i64 chain) {
  a.every = w.chains;
  for (i64 c = 0; c < w.chains; ++c) {
    kernels_for(w).lanes->weight_grad(a);
    if (a.a) a.a += a.a_columns * w.lanes;
    a.g += a.g_columns * w.lanes;
    a.c += chain;
  }
}

// As output_bias_gradient, of the network in each lane, as if it had been alone. There is one window
template <class T>
void own_bias_gradients(const Net<T>& net, const Workspace<T>& w, const BatchPlan::Block& block) {
  const i64 V = w.lanes, O = net.O(), batch = w.plan.batch / V;
  for (i64 o = 0; o < O; ++o) {
    double totals[4][most_lanes] = {};
    std::copy_n(w.db_y + o * V, V, totals[0]);
    for (i64 t = block.t0; t < block.t1; ++t)
      for (i64 b = 0; b < batch; ++b) {
        double* to = totals[(t * w.rows_alone + b) % 4];
        const T* from = w.dy_lanes + w.plan.row(t, b * V) * O + o * V;
        for (i64 v = 0; v < V; ++v) to[v] += double(from[v]);
      }
    for (i64 v = 0; v < V; ++v) w.db_y[o * V + v] = (totals[0][v] + totals[1][v]) + (totals[2][v] + totals[3][v]);
  }
}

// The saved activation that the second stage multiplies with W_hh
inline int later_operand(const CellInfo& info) {
  int operand = 0;
  for (int j = 0; j < info.preactivations; ++j) operand = std::max(operand, info.preactivation[j].hidden);
  return operand;
}

// Numbers of dw in lanes, of one sum for each
template <class T>
i64 lane_sums(const Net<T>& net, const Workspace<T>& w, const LayerDirection& dir) {
  return (net.with_input * dir.inputs + net.with_hidden * net.H() + net.gradients()) * net.H() * w.lanes;
}

// Numbers of dw in lanes before those of a kind
template <class T>
i64 lane_gradient_offset(const Net<T>& net, const Workspace<T>& w, const LayerDirection& dir, GradientTask::Kind kind) {
  const auto size = [&](GradientTask::Kind of, i64 rows) {
    return rows * static_cast<i64>(w.gate_places[of].size()) * w.lanes;
  };
  if (kind == GradientTask::input || kind == GradientTask::below) return 0;
  const i64 hidden = size(GradientTask::input, dir.inputs), later = hidden + size(GradientTask::hidden, net.H());
  if (kind == GradientTask::hidden) return hidden;
  if (kind == GradientTask::later) return later;
  const i64 bias = later + size(GradientTask::later, net.H());
  return kind == GradientTask::bias ? bias : bias + size(GradientTask::bias, 1);
}

// dW_hy^T += dy^T h over one run of rows; h's row 0 stands at row offset of its panels
template <class T>
void output_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i, const T* h,
                     i64 h_panel, i64 offset, const T* dy, const Run& run, bool add) {
  const Kernels<T>& k = kernels_for(w);
  const i64 n = w.panel;
  const auto wanted = [](const GradientTask& t) { return t.kind == GradientTask::output; };
  for_tasks(w.layers[i], worker, wanted, [&](const GradientTask& t) {
    if (w.lanes > 1) {
      const std::vector<i64>& places = w.gate_places[GradientTask::output];
      LaneGradArgs<T> a{};
      a.a = w.dy_lanes;
      a.a_columns = net.O();
      a.column0 = t.column;
      a.column1 = t.column + t.columns;
      a.g = h + offset * n;
      a.g_columns = n;
      a.g_place = places.data();
      a.right = n;
      a.runs = &run;
      a.run_count = 1;
      a.c = w.layers[i].dw_y;
      a.add = add;
      return lane_products(w, a, net.O() * n * w.lanes);
    }
    WeightGradArgs<T> a{};
    a.a = dy + t.column;
    a.a_stride = net.O();
    a.a_columns = t.columns;
    a.g = h + t.panel * h_panel + offset * n;
    a.g_columns = std::min(n, net.H() - t.panel * n);
    a.runs = &run;
    a.run_count = 1;
    a.c = w.layers[i].dw_y + (t.panel * net.O() + t.column) * n;
    a.add = add;
    k.weight_grad(a);
  });
}

// Adds to the rows of the tokens in a block; workers divide the columns, so each sum has a fixed order
template <class T>
void embedding_gradient(const Net<T>& net, const Workspace<T>& w, const Worker& worker, std::size_t i,
                        const BatchPlan::Block& block, T* gradient) {
  if (net.layer_directions[i].layer > 0 || !net.trains_embedding()) return;
  const LayerBuffers<T>& b = w.layers[i];
  const std::pair<i64, i64> columns = share(net.I(), worker.number, worker.team);
  const i64 window = w.plan.row(window_of(w, block).t0, 0), first = w.plan.row(block.t0, 0) - window;
  w.plan.for_rows(block.t0, block.t1, [&](i64 at, i64) {
    const i64 r = at - window, token = b.tokens[r];
    if (token == net.spec.padding_index) return;
    T* row = gradient + net.embedding + token * net.I();
    for (i64 j = columns.first; j < columns.second; ++j) row[j] += b.dx[(r - first) * net.I() + j];
  });
}

template <class T>
const BatchPlan::Window& window_of(const Workspace<T>& w, const BatchPlan::Block& block) {
  return *std::find_if(w.plan.windows.begin(), w.plan.windows.end(),
                       [&](const BatchPlan::Window& window) { return window.t1 >= block.t1; });
}

// Copies from panels to the flat buffer
template <class T>
void finish_gradient(const Net<T>& net, Workspace<T>& w, const Worker& worker, const GradientSource& source,
                     const GradientTargets& out, const bool* given, T* gradient) {
  const bool last = source.outputs && !source.all_steps() && net.O();
  for (i64 d = 0; last && d < net.D(); ++d) {
    const LayerBuffers<T>& b = w.layers[size_of(net.top() + d)];
    output_gradient(net, w, worker, size_of(net.top() + d), states_of_sequences(b, source.steps), b.batch_panel, 0,
                    w.dy, {0, 0, w.plan.lead()}, false);
  }
  worker.barrier.meet();
  i64 panel = 0;
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    for (i64 p = 0; p < panels_of(net, w); ++p)
      if (panel++ % worker.team != worker.number)
        continue;
      else if (w.lanes > 1)
        unpack_lanes(net, w, i, source, out.weights ? out.weights + i : nullptr, gradient, 0);
      else
        out.weights ? unpack_panel(net, w, i, p, out.weights[i]) : unpack_panel(net, w, i, p, source, gradient);
  if (net.spec.rank) low_rank_gradient(net, w, worker, gradient);
  if (worker.number != worker.team - 1) return;
  if (w.plan.episodes) finish_episodes(net, w, out, given);
  for (int s = net.info.given; net.spec.learn_state && s < net.info.states; ++s)
    for (i64 i = 0; i < net.spec.state_rows(); ++i)
      for (i64 j = 0; j < net.H(); ++j) {
        const T* d = initial_target(net, w, out, s, size_of(i));
        double total = 0;
        for (i64 b = 0; (!given[s] || w.plan.episodes) && b < w.plan.batch; ++b) total += double(d[b * net.H() + j]);
        gradient[net.initial[s] + i * net.H() + j] = T(total);
      }
  for (int s = net.info.given; net.spec.static_size && s < net.info.states; ++s)
    static_gradient(net, w, out, s, given[s], gradient);
  for (i64 o = 0; net.spec.has_output_bias() && o < net.O(); ++o) {
    double total = w.db_y[o];
    for (i64 b = 0; last && b < w.plan.batch; ++b) total += double(w.dy[b * net.O() + o]);
    gradient[net.b_y + o] = T(total);
  }
}

// dN_hh = dW_hh M_hh^T and dM_hh = N_hh^T dW_hh: a worker's share of the rows of both
template <class T>
[[gnu::cold]] void low_rank_gradient(const Net<T>& net, Workspace<T>& w, const Worker& worker, T* gradient) {
  const i64 rank = net.spec.rank, H = net.H(), GH = net.GH(), lanes = kernels_for(w).vector;
  const auto [row0, row1] = share(H, worker.number, worker.team);
  const auto [column0, column1] = share(GH, worker.number, worker.team);
  worker.barrier.meet();
  for (std::size_t i = 0; i < net.layer_directions.size() && !w.stop.reached(); ++i) {
    const LayerBuffers<T>& b = w.layers[i];
    T *dN = gradient + net.layer_directions[i].N_hh, *dM = gradient + net.layer_directions[i].M_hh;
    for (i64 j = row0; j < row1; ++j)
      for (i64 k = 0; k < rank; k += lanes) {
        T part[most_lanes] = {};
        kernels_for(w).row_product(b.d_recurrent + j * GH, GH, b.m_transposed + k, padded_rank(net, w), lanes, part);
        std::copy_n(part, std::min(lanes, rank - k), dN + j * rank + k);
      }
    for (i64 k = 0; k < rank; ++k) {
      std::fill(dM + k * GH + column0, dM + k * GH + column1, T(0));
      kernels_for(w).row_product(b.n_transposed + k * H, H, b.d_recurrent + column0, GH, column1 - column0,
                                 dM + k * GH + column0);
    }
  }
}

// Of the gradients of the states that the episodes start from: those of the caller's states, which the others leave
template <class T>
void finish_episodes(const Net<T>& net, const Workspace<T>& w, const GradientTargets& out, const bool* given) {
  const BatchPlan& plan = w.plan;
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    for (int s = net.info.given; s < net.info.states; ++s) {
      T* from = initial_target(net, w, out, s, i);
      for (i64 b = 0; from && b < plan.batch; ++b) {
        T* row = from + plan.number_of(b) * net.H();
        if (auto* to = static_cast<T*>(out.initial[s]); to && plan.step(0, b) == 0) {
          to += (static_cast<i64>(i) * plan.callers_batch + plan.place(b)) * net.H();
          plan.carries_on(b) ? std::copy_n(row, net.H(), to) : std::fill_n(to, net.H(), T(0));
        }
        if (given[s] && plan.carries_on(b)) std::fill_n(row, net.H(), T(0));
      }
    }
}

// dW_sh of a state: the constants times the gradients of the initial states, over the sequences in row order
template <class T>
void static_gradient(const Net<T>& net, const Workspace<T>& w, const GradientTargets& out, int state, bool given,
                     T* gradient) {
  const i64 constants = net.spec.static_size, rows = net.spec.state_rows();
  for (i64 i = 0; i < constants * rows * net.H(); ++i) {
    const i64 f = i / (rows * net.H()), row = i / net.H() % rows, unit = i % net.H();
    const T* d = initial_target(net, w, out, state, size_of(row));
    double total = 0;
    for (i64 b = 0; b < w.plan.batch && !given; ++b)
      total += double(w.static_rows[b * constants + f]) * double(d[w.plan.place(b) * net.H() + unit]);
    gradient[net.static_map[state] + i] = T(total);
  }
}

// The gradients of n units' logits, from those of their numbers; the numbers themselves stand `step` elements apart
template <class T>
void unpack_setting(const T* gradient, const T* number, i64 step, i64 n, T* out) {
  for (i64 j = 0; j < n; ++j) out[j] = gradient[j] * (number[j * step] * (T(1) - number[j * step]));
}

// Where the gradient of W_hh goes
template <class T>
T* recurrent_gradient(const Net<T>& net, const LayerBuffers<T>& b, const LayerDirection& dir, T* flat) {
  return net.spec.rank ? b.d_recurrent : flat + dir.W_hh;
}

// From the sums of the lanes, or from that of the one that is this network, into the flat buffer or (torch) PyTorch's
// layout
template <class T>
void unpack_lanes(const Net<T>& net, const Workspace<T>& w, std::size_t i, const GradientSource& source,
                  const TorchWeights<void>* torch, T* out, i64 lane) {
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& b = w.layers[i];
  const i64 H = net.H(), outputs = net.readout_of(dir);
  std::vector<T> sums;
  const auto totals = [&] [[gnu::noinline]] (const T* from, i64 n, T* to) {
    if (w.each == 1) return kernels_for(w).lanes->totals(from, n, to);
    for (i64 k = 0; k < n; ++k) to[k] = from[k * w.lanes + lane];
  };
  // f(row, pre-activation, row's first sum) for the rows of a part of dw
  const auto rows = [&](GradientTask::Kind kind, i64 count, const auto& want, const auto& f) {
    const i64 width = static_cast<i64>(w.gate_places[kind].size());
    sums.resize(size_of(count * width));
    totals(b.dw + lane_gradient_offset(net, w, dir, kind), count * width, sums.data());
    i64 column = 0;
    for (int j = 0; j < net.info.preactivations; ++j) {
      if (!want(net.info.preactivation[j])) continue;
      for (i64 k = 0; k < count; ++k) f(k, j, sums.data() + k * width + column);
      column += H;
    }
  };
  const auto matrix = [&](GradientTask::Kind kind, i64 count, T* to, void* transposed, const auto& want) {
    rows(kind, count, want, [&](i64 k, int j, const T* from) {
      const i64 column = net.info.preactivation[j].gate * H;
      for (i64 u = 0; torch && u < H; ++u) static_cast<T*>(transposed)[(column + u) * count + k] = from[u];
      if (!torch) std::copy_n(from, H, to + k * net.GH() + column);
    });
  };
  matrix(GradientTask::input, dir.inputs, torch ? nullptr : out + dir.W_xh, torch ? torch->input : nullptr,
         [](const Preactivation& p) { return p.input; });
  for (const bool before : {true, false})
    matrix(before ? GradientTask::hidden : GradientTask::later, H,
           torch ? nullptr : recurrent_gradient(net, b, dir, out), torch ? torch->hidden : nullptr,
           [before](const Preactivation& p) { return before ? p.hidden == Preactivation::before : p.hidden >= 0; });
  const auto bias = [&](i64, int j, const T* from) {
    const Preactivation& p = net.info.preactivation[j];
    if (!torch) std::copy_n(from, H, out + net.bias_of(dir, j));
    if (torch && p.input) std::copy_n(from, H, static_cast<T*>(torch->input_bias) + p.gate * H);
    if (torch && p.hidden != Preactivation::none)
      std::copy_n(from, H, static_cast<T*>(torch->hidden_bias) + p.gate * H);
  };
  if (net.spec.bias)
    rows(
        GradientTask::bias, 1, [](const Preactivation&) { return true; }, bias);
  if (net.spec.learn_setting) {
    sums.resize(size_of(H));
    totals(b.dw + lane_gradient_offset(net, w, dir, GradientTask::setting), H, sums.data());
    unpack_setting(sums.data(), b.setting + lane, w.lanes, H, out + dir.logit);
  }
  sums.assign(size_of(outputs * H), T(0));
  if (source.outputs) totals(b.dw_y, outputs * H, sums.data());
  for (i64 o = 0; o < outputs; ++o)
    for (i64 u = 0; u < H; ++u)
      if (const i64 row = net.read_row.empty() ? u : net.read_row[size_of(u)]; row >= 0)
        out[net.W_hy + row * net.O() + o] = sums[size_of(o * H + u)];
}

// The same into PyTorch's layout: matrices are transposed, and both biases have the same gradient
template <class T>
void unpack_panel(const Net<T>& net, const Workspace<T>& w, std::size_t i, i64 p, const TorchWeights<void>& out) {
  const LayerDirection& dir = net.layer_directions[i];
  const i64 n = w.panel, real = std::min(n, net.H() - p * n);
  const auto transpose = [&](const T* from, i64 rows, void* matrix, i64 first) {
    kernels_for(w).unpack_transposed(from, rows, real, static_cast<T*>(matrix) + first * rows, rows);
  };
  for (int j = 0; j < net.info.preactivations; ++j) {
    const Preactivation& preactivation = net.info.preactivation[j];
    const i64 inputs = net.inputs_of(preactivation, dir), hidden = net.hidden_of(preactivation),
              first = preactivation.gate * net.H() + p * n;
    const T* from = w.layers[i].dw + gradient_offset(net, w, dir, j) + p * gradient_rows(net, dir, j) * n;
    if (inputs) transpose(from, inputs, out.input, first);
    from += inputs * n;
    if (hidden) transpose(from, hidden, out.hidden, first);
    from += hidden * n;
    if (inputs && net.spec.bias) std::copy_n(from, real, static_cast<T*>(out.input_bias) + first);
    if (hidden && net.spec.bias) std::copy_n(from, real, static_cast<T*>(out.hidden_bias) + first);
  }
}

template <class T>
void unpack_panel(const Net<T>& net, const Workspace<T>& w, std::size_t i, i64 p, const GradientSource& source,
                  T* out) {
  const LayerDirection& dir = net.layer_directions[i];
  const LayerBuffers<T>& b = w.layers[i];
  const i64 n = w.panel, real = std::min(n, net.H() - p * n);
  for (int j = 0; j < net.info.preactivations; ++j) {
    const Preactivation& preactivation = net.info.preactivation[j];
    const i64 inputs = net.inputs_of(preactivation, dir), hidden = net.hidden_of(preactivation),
              column = preactivation.gate * net.H() + p * n;
    const T* from = b.dw + gradient_offset(net, w, dir, j) + p * gradient_rows(net, dir, j) * n;
    for (i64 r = 0; r < inputs; ++r) std::copy_n(from + r * n, real, out + dir.W_xh + r * net.GH() + column);
    from += inputs * n;
    T* recurrent = recurrent_gradient(net, b, dir, out);
    for (i64 r = 0; r < hidden; ++r) std::copy_n(from + r * n, real, recurrent + r * net.GH() + column);
    from += hidden * n;
    if (net.spec.bias) std::copy_n(from, real, out + net.bias_of(dir, j) + p * n);
  }
  if (net.spec.learn_setting)
    unpack_setting(b.dw + gradient_offset(net, w, dir, net.info.preactivations) + p * n, b.setting + p * n, 1, real,
                   out + dir.logit + p * n);
  for (i64 o = 0; o < net.readout_of(dir); ++o)
    for (i64 j = 0; j < real; ++j) {
      const i64 unit = dir.direction * net.H() + p * n + j,
                row = net.read_row.empty() ? unit : net.read_row[size_of(unit)];
      if (row >= 0) out[net.W_hy + row * net.O() + o] = source.outputs ? b.dw_y[(p * net.O() + o) * n + j] : T(0);
    }
}

}  // namespace fastbptt

#endif
