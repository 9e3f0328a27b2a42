// Gaussian noise in a pass: on the inputs of the first layer, and on the sums of all layers. As with dropout, a number
// is a function of seed, layer, direction, sequence, step and column alone: of the key of its row,
// mix(seed + golden (1 + stream + 2^16 step + 2^40 sequence)), and its column (kernels/noise.inc). The first layers'
// dropout has the streams 0, 1, ..
#ifndef FASTBPTT_ENGINE_NOISE_H
#define FASTBPTT_ENGINE_NOISE_H

#include <algorithm>

#include "engine/layer_directions.h"

namespace fastbptt {

constexpr std::uint64_t noise_golden = 0x9E3779B97F4A7C15;
// + 2 layer + direction; the last is that of recurrent dropout
enum NoiseStream : std::uint64_t {
  input_stream = 1 << 14,
  zone_stream = 5 << 13,
  recurrent_stream = 1 << 15,
  mask_stream = 3 << 14
};
// What keys are for
enum class Keys { sums, inputs, zones };
constexpr i64 most_panel = 64;  // columns

// The number of the caller's row
inline i64 number_in(const Batch& batch, i64 row) { return batch.numbers ? batch.numbers[row] : row; }

// The keys of each sorted sequence at its first step, for the sums of layer direction i, or (of the first layer) its
// inputs, which both directions read with the same noise
template <class T>
std::uint64_t* noise_keys(const Workspace<T>& w, std::size_t i, Keys of) {
  return w.noise_keys + (3 * static_cast<i64>(i) + static_cast<i64>(of)) * w.plan.lead();
}

// The factors of a layer direction's units, where they have numbers of their own
template <class T>
T* noise_scales(const Net<T>& net, const Workspace<T>& w, std::size_t i) {
  return w.noise_scales + static_cast<i64>(i) * panels_of(net, w) * w.panel;
}

template <class T>
void begin_noise(const Net<T>& net, const Workspace<T>& w, const Batch& batch) {
  for (std::size_t i = 0; w.noise_scales && i < net.layer_directions.size(); ++i) {
    T* const to = noise_scales(net, w, i);
    std::fill_n(to, panels_of(net, w) * w.panel, T(0));
    for (i64 unit = 0; unit < net.H(); ++unit)
      to[unit] = static_cast<T>(net.spec.noise_factor(static_cast<i64>(i), unit));
  }
  const auto u = [](i64 i) { return static_cast<std::uint64_t>(i); };
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    for (const Keys of : {Keys::sums, Keys::inputs, Keys::zones}) {
      const LayerDirection& dir = net.layer_directions[i];
      const std::uint64_t own = u(2 * dir.layer + dir.direction), stream = of == Keys::inputs  ? u(input_stream)
                                                                           : of == Keys::zones ? zone_stream + own
                                                                                               : recurrent_stream + own;
      std::uint64_t* keys = noise_keys(w, i, of);
      std::fill_n(keys, w.plan.lead(), 0);
      for (i64 b = 0; b < w.plan.batch; ++b) {
        const i64 row = w.plan.place(b), step = batch.first_step + w.plan.step(0, b, dir.reverse());
        keys[b] = batch.noise_seed + noise_golden * (1 + stream + (u(step) << 16) + (u(number_in(batch, row)) << 40));
      }
    }
}

// What each step of a layer direction adds to its keys
template <class T>
std::uint64_t key_step(const Net<T>& net, std::size_t i) {
  const std::uint64_t step = noise_golden << 16;
  return net.layer_directions[i].reverse() ? -step : step;
}

// of: sums or inputs
template <class T>
NoiseArgs<T> noise_args(const Net<T>& net, const Workspace<T>& w, std::size_t i, Keys of) {
  const bool own = of == Keys::sums && w.noise_scales;
  return {.base = noise_keys(w, i, of),
          .per_step = key_step(net, i),
          .scale = static_cast<T>(of == Keys::inputs ? w.input_noise : w.recurrent_noise),
          .unit_scale = own ? noise_scales(net, w, i) : nullptr,
          .add = kernels_for(w).add_noise,
          .add_lanes = w.lanes > 1 ? kernels_for(w).lanes->add_noise : nullptr};
}

template <class T>
ZoneArgs<T> zone_args(const Net<T>& net, const Workspace<T>& w, std::size_t i) {
  return {.base = w.zone_draws ? noise_keys(w, i, Keys::zones) : nullptr,
          .per_step = key_step(net, i),
          .share = {static_cast<T>(net.spec.zoneout[0]), static_cast<T>(net.spec.zoneout[1])},
          .draws = w.zone_draws,
          .forward = kernels_for(w).zone_forward,
          .backward = kernels_for(w).zone_backward};
}

// Adds noise to row x of n inputs, those of sorted sequence b at step t
template <class T>
void add_input_noise(const Workspace<T>& w, const NoiseArgs<T>& noise, i64 t, i64 b, i64 n, T* x) {
  const i64 at_once = kernels_for(w).panel, vector = kernels_for(w).vector;
  for (i64 c = 0; c < n; c += at_once) {
    T some[most_panel] = {};
    const i64 real = std::min(at_once, n - c);
    noise.add(noise, t, b, 1, c, static_cast<int>((real + vector - 1) / vector), some);
    for (i64 j = 0; j < real; ++j) x[c + j] += some[j];
  }
}

}  // namespace fastbptt

#endif
