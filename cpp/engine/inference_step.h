// Single-step inference: one step of a batch, on the unpacked weights.
#ifndef FASTBPTT_ENGINE_INFERENCE_STEP_H
#define FASTBPTT_ENGINE_INFERENCE_STEP_H

#include <algorithm>
#include <string>
#include <vector>

#include "engine/layer_directions.h"
#include "engine/forward.h"
#include "engine/packing.h"

namespace fastbptt {

// One step of one row on the unpacked weights. before(layer, state): the state of a layer, null: zeros; after: where
// the new one goes, elsewhere
template <class T>
class RowStep {
 public:
  // more: numbers that the caller needs for states
  RowStep(const Net<T>& net, i64 more)
      : net_(net),
        k_(kernels_of<T>(active())),
        cell_(cell_of<T>(active(), net.cell)),
        padded_((net.H() + k_.vector - 1) / k_.vector * k_.vector),
        width_(std::max(net.I(), padded_)) {
    const i64 own = width_ + (net.info.saved + net.info.states + 1) * padded_ +
                    std::max(net.spec.rank, static_cast<i64>(net.spec.read_units.size()));
    scratch().assign(size_of(own + more), T(0));
    states = scratch().data() + own;
  }

  T* states;                                     // as many as were asked for
  T* input() const { return scratch().data(); }  // what the step reads, I numbers

  template <class Before, class After>
  void operator()(const Before& before, const After& after) const {
    T* saved = input() + width_;
    T* start = saved + net_.info.saved * padded_;
    T* setting = start + net_.info.states * padded_;
    const T* from = input();
    for (i64 layer = 0; layer < net_.spec.layers; ++layer) {
      ElementArgs<T> e{};
      e.saved_stride = padded_;
      e.rows = 1;
      e.vectors = static_cast<int>(padded_ / k_.vector);
      e.setting = setting;
      e.setting_mask = -1;
      if (net_.info.setting) net_.read_setting(size_of(layer), setting);
      for (int s = net_.info.given; s < net_.info.states; ++s) {
        const T* at = before(layer, s);
        at ? std::copy_n(at, net_.H(), start + s * padded_) : std::fill_n(start + s * padded_, net_.H(), T(0));
      }
      if (cell_.show) {
        e.now = start;
        cell_.show(e);
      }
      for (int stage = 0; stage < net_.info.stages; ++stage) {
        sums(net_.layer_directions[size_of(layer)], stage, from, start, saved);
        e.now = saved;
        e.before = start;
        cell_.forward[stage](e);
      }
      if (net_.spec.has_zoneout()) {
        ZoneArgs<T> zone{};
        for (int s = 0; s < net_.info.states; ++s) zone.share[s] = static_cast<T>(net_.spec.zoneout[s]);
        k_.zone_forward(zone, 0, 0, 1, 0, static_cast<int>(padded_ / k_.vector), net_.info.states, padded_, saved,
                        start, nullptr);
      }
      for (int s = 0; s < net_.info.states; ++s) std::copy_n(saved + s * padded_, net_.H(), after(layer, s));
      from = after(layer, 0);
    }
  }

  // y of the state of the top layer
  void readout(const T* from, T* y) const {
    if (!net_.O()) {
      std::copy_n(from, net_.H(), y);
      return;
    }
    for (i64 o = 0; o < net_.O(); ++o) y[o] = net_.spec.has_output_bias() ? net_.params[net_.b_y + o] : T(0);
    if (!net_.spec.read_units.empty()) {
      T* read = rest();  // the units that the readout reads
      std::transform(net_.spec.read_units.begin(), net_.spec.read_units.end(), read,
                     [&](i64 unit) { return from[unit]; });
      from = read;
    }
    k_.row_product(from, net_.spec.read_width(), net_.params + net_.W_hy, net_.O(), net_.O(), y);
  }

 private:
  // Behind saved, the states before the step, and the cell's numbers
  T* rest() const { return input() + width_ + (net_.info.saved + net_.info.states + 1) * padded_; }

  static std::vector<T>& scratch() {
    static thread_local std::vector<T> all;
    return all;
  }

  // The pre-activations of a stage
  void sums(const LayerDirection& dir, int stage, const T* from, const T* start, T* saved) const {
    for (int j = 0; j < net_.info.preactivations; ++j) {
      const Preactivation& preactivation = net_.info.preactivation[j];
      if (preactivation.stage != stage) continue;
      T* sum = saved + preactivation.saved * padded_;
      if (net_.spec.bias)
        std::copy_n(net_.params + net_.bias_of(dir, j), net_.H(), sum);
      else
        std::fill_n(sum, net_.H(), T(0));
      const auto add = [&](const T* a, i64 n, i64 weights) {
        k_.row_product(a, n, net_.params + weights + preactivation.gate * net_.H(), net_.GH(), net_.H(), sum);
      };
      const auto add_low_rank = [&](const T* a) {
        T* between = rest();
        std::fill_n(between, net_.spec.rank, T(0));
        k_.row_product(a, net_.H(), net_.params + dir.N_hh, net_.spec.rank, net_.spec.rank, between);
        add(between, net_.spec.rank, dir.M_hh);
      };
      if (preactivation.input) add(from, dir.inputs, dir.W_xh);
      if (preactivation.hidden == Preactivation::none) continue;
      const T* operand = preactivation.hidden == Preactivation::before ? start : saved + preactivation.hidden * padded_;
      net_.spec.rank ? add_low_rank(operand) : add(operand, net_.H(), dir.W_hh);
    }
  }

  const Net<T>& net_;
  const Kernels<T>& k_;
  const CellKernels<T>& cell_;
  i64 padded_, width_;
};

// Whether a prediction is made step by step on the unpacked weights: packing them costs as much as some steps
template <class T>
bool infers(const Net<T>& net, const Workspace<T>& w, Steps steps) {
  constexpr i64 most = 6;
  return w.plan.batch == 1 && w.plan.length(0) <= most && net.D() == 1 && !w.drop && !w.noisy() && !w.layers[0].mask &&
         !w.zone_draws && !net.spec.bfloat16 && !net.spec.rank && !pools(steps);
}

// All steps of a batch of one sequence in one direction; of the weights only the readout's are packed, whose sums have
// the same bits then
template <class T>
void infer_sequence(const Net<T>& net, Workspace<T>& w, const Batch& batch, const Predictions& out) {
  const i64 H = net.H(), width = net.spec.output_width(), steps = w.plan.length(0), states = net.info.states,
            size = net.spec.layers * H;
  const LayerBuffers<T>& top = w.layers.back();
  pack_rest(net, w);
  const LayerDirection& dir = net.layer_directions.back();
  const DirectionWeights<T> weights(net, dir, top, nullptr);
  for (i64 p = 0; p < panels_of(net, w); ++p) pack_backward(net, w, dir, weights, top, p, false);
  pack_initial(net, w, batch, 0, 1);
  pack_inputs(net, w, batch, 0, 0, 1);
  const RowStep<T> step(net, 2 * states * size);
  T *before = step.states, *after = before + states * size;
  for (i64 layer = 0; layer < net.spec.layers; ++layer)
    for (int s = 0; s < states; ++s) {
      const LayerBuffers<T>& b = w.layers[size_of(layer)];
      read_row(w, H, b.saved + s * b.saved_stride, b.panel, 0, before + s * size + layer * H);
    }
  OutputArgs<T> output = output_args(net, w, false);
  output.y = static_cast<T*>(out.outputs.data);
  for (i64 t = 0; t < steps; ++t) {
    std::copy_n(w.layers[0].x + t * w.x_stride, net.I(), step.input());
    step([&](i64 layer, int s) { return before + s * size + layer * H; },
         [&](i64 layer, int s) { return after + s * size + layer * H; });
    std::swap(before, after);
    to_panels(net, w, before + size - H, 0, false, top.saved, top.panel);  // of the state h
    if (output.y) kernels_for(w).panels.outputs(output, top.saved, top.panel, 0, t, 0, 1);
  }
  if (out.outputs) std::fill(output.y + steps * width, output.y + w.plan.time * width, T(0));
  if (out.one) {
    output.y = static_cast<T*>(out.one);
    kernels_for(w).panels.outputs(output, top.saved, top.panel, 0, 0, 0, 1);
  }
  for (int s = 0; s < states; ++s)
    if (out.final_state[s]) std::copy_n(before + s * size, size, static_cast<T*>(out.final_state[s]));
}

template <class T>
void inference_step(const Net<T>& net, const Array& x, void* const* state, T* y, bool check, const bool* resets) {
  const i64 batch = x.shape[0], H = net.H();
  const RowStep<T> step(net, net.info.states * net.spec.layers * batch * H);
  T* fresh = step.states;  // (states, layers, B, H)
  for (i64 b = 0; b < batch; ++b) {
    read_step_input(net, kernels_of<T>(active()), x, b, check, step.input());
    step(
        [&](i64 layer, int s) -> const T* {
          if (resets && resets[b]) return net.spec.learn_state ? net.params + net.initial[s] + layer * H : nullptr;
          return static_cast<const T*>(state[s]) + (layer * batch + b) * H;
        },
        [&](i64 layer, int s) { return fresh + ((s * net.spec.layers + layer) * batch + b) * H; });
    step.readout(fresh + ((net.spec.layers - 1) * batch + b) * H, y + b * net.spec.output_width());
  }
  for (int s = net.info.given; s < net.info.states; ++s)
    std::copy_n(fresh + s * net.spec.layers * batch * H, net.spec.layers * batch * H, static_cast<T*>(state[s]));
}

template <class T>
void read_step_input(const Net<T>& net, const Kernels<T>& k, const Array& x, i64 b, bool check, T* input) {
  if (!net.spec.vocabulary) {
    if (copy_numbers(k, x, b, 0, net.I(), 1, input) || !check) return;
    for (i64 j = 0; j < net.I(); ++j)
      if (!std::isfinite(input[j])) throw_not_finite("x_t", double(input[j]), {b, j});
    return;
  }
  const i64 token = read<i64>(x, b);
  if (token < 0 || token >= net.spec.vocabulary)
    throw_unknown("x_t", "token", token, {b}, "tokens", net.spec.vocabulary);
  std::copy_n(net.params + net.embedding + token * net.I(), net.I(), input);
}

}  // namespace fastbptt

#endif
