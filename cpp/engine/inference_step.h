// Single-step inference: one step of a batch, on the unpacked weights.
#ifndef FASTBPTT_ENGINE_INFERENCE_STEP_H
#define FASTBPTT_ENGINE_INFERENCE_STEP_H

#include <string>
#include <vector>

#include "engine/layer_directions.h"

namespace fastbptt {

template <class T>
void inference_step(const Net<T>& net, const Array& x, void* const* state, T* y, bool check, const bool* resets) {
  const InstructionSet& set = active();
  const Kernels<T>& k = kernels_of<T>(set);
  const CellKernels<T>& cell = cell_of<T>(set, net.cell);
  const i64 batch = x.shape[0], padded = (net.H() + k.vector - 1) / k.vector * k.vector,
            width = std::max(net.I(), padded);
  static thread_local std::vector<T> scratch;
  scratch.assign(size_of(width + (net.info.saved + net.info.states) * padded +
                         net.info.states * net.spec.layers * batch * net.H()),
                 T(0));
  T* input = scratch.data();
  T* saved = input + width;
  T* before = saved + net.info.saved * padded;
  T* fresh = before + net.info.states * padded;  // (states, layers, B, H)
  for (i64 b = 0; b < batch; ++b) {
    read_step_input(net, k, x, b, check, input);
    const T* from = input;
    for (i64 layer = 0; layer < net.spec.layers; ++layer) {
      const LayerDirection& dir = net.layer_directions[size_of(layer)];
      for (int s = 0; s < net.info.states; ++s) {
        const T* at = resets && resets[b]
                          ? net.spec.learn_state ? net.params + net.initial[s] + layer * net.H() : nullptr
                          : static_cast<const T*>(state[s]) + (layer * batch + b) * net.H();
        at ? std::copy_n(at, net.H(), before + s * padded) : std::fill_n(before + s * padded, net.H(), T(0));
      }
      for (int stage = 0; stage < net.info.stages; ++stage) {
        for (int j = 0; j < net.info.preactivations; ++j) {
          const Preactivation& preactivation = net.info.preactivation[j];
          if (preactivation.stage != stage) continue;
          T* sum = saved + preactivation.saved * padded;
          if (net.spec.bias)
            std::copy_n(net.params + net.bias_of(dir, j), net.H(), sum);
          else
            std::fill_n(sum, net.H(), T(0));
          if (preactivation.input)
            k.row_product(from, dir.inputs, net.params + dir.W_xh + preactivation.gate * net.H(), net.GH(), net.H(),
                          sum);
          if (preactivation.hidden != Preactivation::none)
            k.row_product(
                preactivation.hidden == Preactivation::before ? before : saved + preactivation.hidden * padded, net.H(),
                net.params + dir.W_hh + preactivation.gate * net.H(), net.GH(), net.H(), sum);
        }
        ElementArgs<T> e{};
        e.now = saved;
        e.before = before;
        e.saved_stride = padded;
        e.rows = 1;
        e.vectors = static_cast<int>(padded / k.vector);
        e.setting = static_cast<T>(net.spec.setting);
        cell.forward[stage](e);
      }
      for (int s = 0; s < net.info.states; ++s)
        std::copy_n(saved + s * padded, net.H(), fresh + ((s * net.spec.layers + layer) * batch + b) * net.H());
      from = fresh + (layer * batch + b) * net.H();
    }
    T* out = y + b * net.spec.output_width();
    if (!net.O()) {
      std::copy_n(from, net.H(), out);
      continue;
    }
    for (i64 o = 0; o < net.O(); ++o) out[o] = net.spec.bias ? net.params[net.b_y + o] : T(0);
    k.row_product(from, net.H(), net.params + net.W_hy, net.O(), net.O(), out);
  }
  for (int s = 0; s < net.info.states; ++s)
    std::copy_n(fresh + s * net.spec.layers * batch * net.H(), net.spec.layers * batch * net.H(),
                static_cast<T*>(state[s]));
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
