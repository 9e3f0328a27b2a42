// Packs parameters and the caller's arrays into the panels and rows that the kernels read, and checks their contents.
#ifndef FASTBPTT_ENGINE_PACKING_H
#define FASTBPTT_ENGINE_PACKING_H

#include <string>
#include <vector>

#include "engine/layer_directions.h"

namespace fastbptt {

// A matrix of weights, (inputs, G H), or transposed as PyTorch's
template <class T>
struct WeightMatrix {
  const T* data;
  i64 ld;
  bool transposed;
  const T* at(i64 row, i64 column) const { return data + (transposed ? column * ld + row : row * ld + column); }
};

// The weights of a layer direction, of the engine or as PyTorch's
template <class T>
struct DirectionWeights {
  DirectionWeights(const Net<T>& net, const LayerDirection& dir, const TorchWeights<const void>* from) : given(from) {
    if (from) {
      input = {static_cast<const T*>(from->input), dir.inputs, true};
      hidden = {static_cast<const T*>(from->hidden), net.H(), true};
    } else {
      input = {net.params + dir.W_xh, net.GH(), false};
      hidden = {net.params + dir.W_hh, net.GH(), false};
    }
  }

  // The bias of a pre-activation, for n units from `unit` on
  void bias(const Net<T>& net, const LayerDirection& dir, int j, i64 unit, i64 n, T* out) const {
    if (!net.spec.bias) {
      std::fill_n(out, n, T(0));
    } else if (!given) {
      std::copy_n(net.params + net.bias_of(dir, j) + unit, n, out);
    } else {
      const Preactivation& preactivation = net.info.preactivation[j];
      const i64 at = preactivation.gate * net.H() + unit;
      const T *of_input = static_cast<const T*>(given->input_bias) + at,
              *of_hidden = static_cast<const T*>(given->hidden_bias) + at;
      for (i64 c = 0; c < n; ++c) {
        out[c] = preactivation.input ? of_input[c] : T(0);
        if (preactivation.hidden != Preactivation::none) out[c] += of_hidden[c];
      }
    }
  }

  WeightMatrix<T> input, hidden;
  const TorchWeights<const void>* given;
};

// from: of each layer direction, or null for the engine's own
template <class T>
void pack_weights(const Net<T>& net, Workspace<T>& w, const TorchWeights<const void>* from, bool backward, int worker,
                  int team) {
  i64 panel = 0;
  const auto mine = [&] { return panel++ % team == worker; };
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
    const LayerDirection& dir = net.layer_directions[i];
    const LayerBuffers<T>& b = w.layers[i];
    const DirectionWeights<T> weights(net, dir, from ? from + i : nullptr);
    for (i64 p = 0; p < panels_of(net, w); ++p)
      if (mine()) pack_forward(net, w, dir, weights, b, p);
    for (i64 p = 0; p < panels_of(net, w); ++p)
      if (mine()) pack_backward(net, w, dir, weights, b, p, backward);
    for (i64 s = 0; s < 2 && backward; ++s) {
      const i64 columns = dir.layer ? net.H() : net.I();
      if (dir.layer ? s >= net.D() : s > 0 || !w.input_weights) continue;
      for (i64 p = 0; p * w.panel < columns; ++p)
        if (mine()) pack_input(net, w, weights, b, s, p, columns);
    }
  }
  if (worker == 0 && !from) pack_rest(net, w);
}

// The bias of the readout; whether all weights are finite
template <class T>
void pack_rest(const Net<T>& net, Workspace<T>& w) {
  for (i64 o = 0; o < net.O(); ++o) w.b_y[o] = net.spec.has_output_bias() ? net.params[net.b_y + o] : T(0);
  if (!kernels_for(w).finite(net.params, net.checked)) w.found.weights = true;
}

// Rows of a panel from a matrix, or (back) from its transpose, from its element (row, column) on; as pairs if the
// matrix products read pairs. Returns their end
template <class T>
T* pack_rows(const Net<T>& net, const Workspace<T>& w, const WeightMatrix<T>& from, i64 row, i64 column, bool back,
             i64 rows, i64 real, T* to) {
  const Kernels<T>& k = kernels_for(w);
  const i64 n = w.panel;
  k.pack(from.at(row, column), from.ld, from.transposed != back, rows, real, to);
  if (!net.spec.bfloat16) return to + rows * n;
  const i64 pairs = (rows + 1) / 2;
  for (i64 p = 0; p < pairs; ++p) {  // in place: a row of pairs never overtakes the rows it is made from
    const T* first = to + 2 * p * n;
    k.pair_rows(first, 2 * p + 1 < rows ? first + n : nullptr, n, reinterpret_cast<Pair*>(to + p * n));
  }
  return to + pairs * n;
}

template <class T>
void pack_forward(const Net<T>& net, const Workspace<T>& w, const LayerDirection& dir,
                  const DirectionWeights<T>& weights, const LayerBuffers<T>& b, i64 p) {
  const i64 n = w.panel, panels = panels_of(net, w), real = std::min(n, net.H() - p * n);
  T* preactivation_weights = b.w_forward;
  for (int j = 0; j < net.info.preactivations; ++j) {
    const Preactivation& preactivation = net.info.preactivation[j];
    const i64 inputs = net.inputs_of(preactivation, dir), hidden = net.hidden_of(preactivation),
              column = preactivation.gate * net.H() + p * n;
    T* to = preactivation_weights + p * (inputs + hidden) * n;
    const i64 operand = dir.layer ? net.H() : net.I();  // rows of each direction below
    for (i64 row = 0; row < inputs; row += operand)
      to = pack_rows(net, w, weights.input, row, column, false, operand, real, to);
    pack_rows(net, w, weights.hidden, 0, column, false, hidden, real, to);
    preactivation_weights += panels * (inputs + hidden) * n;
    T* bias = b.bias + (j * panels + p) * n;
    weights.bias(net, dir, j, p * n, real, bias);
    std::fill_n(bias + real, n - real, T(0));
  }
}

// A panel of W_hy^T, from column `first` of the top layer's states on; zeros for what the readout does not read
template <class T>
void pack_read_units(const Net<T>& net, i64 first, i64 n, i64 real, T* to) {
  std::fill_n(to, net.O() * n, T(0));
  for (i64 c = 0; c < real; ++c)
    if (const i64 row = net.read_row[size_of(first + c)]; row >= 0)
      for (i64 o = 0; o < net.O(); ++o) to[o * n + c] = net.params[net.W_hy + row * net.O() + o];
}

// The rows of the readout, and those that only a backward pass reads
template <class T>
void pack_backward(const Net<T>& net, const Workspace<T>& w, const LayerDirection& dir,
                   const DirectionWeights<T>& weights, const LayerBuffers<T>& b, i64 p, bool all) {
  const Kernels<T>& k = kernels_for(w);
  const i64 n = w.panel, outputs = net.readout_of(dir), real = std::min(n, net.H() - p * n);
  T* to = b.w_backward + p * net.depth_back(dir) * n;
  if (outputs && net.read_row.empty())
    k.pack(net.params + net.W_hy + (dir.direction * net.H() + p * n) * net.O(), net.O(), true, net.O(), real, to);
  else if (outputs)
    pack_read_units(net, dir.direction * net.H() + p * n, n, real, to);
  if (!all) return;
  to += outputs * n;
  for (const bool before : {true, false})  // first the rows multiplied with the previous step
    for (int j = 0; j < net.info.preactivations; ++j) {
      const Preactivation& preactivation = net.info.preactivation[j];
      if (preactivation.hidden == Preactivation::none || (preactivation.hidden == Preactivation::before) != before)
        continue;
      to = pack_rows(net, w, weights.hidden, p * n, preactivation.gate * net.H(), true, net.H(), real, to);
    }
}

template <class T>
void pack_input(const Net<T>& net, const Workspace<T>& w, const DirectionWeights<T>& weights, const LayerBuffers<T>& b,
                i64 source, i64 p, i64 columns) {
  const i64 n = w.panel, real = std::min(n, columns - p * n), first = source * net.H() + p * n;
  T* to = b.w_input[source] + p * net.with_input * net.H() * n;
  for (int j = 0; j < net.info.preactivations; ++j) {
    if (!net.info.preactivation[j].input) continue;
    to = pack_rows(net, w, weights.input, first, net.info.preactivation[j].gate * net.H(), true, net.H(), real, to);
  }
}

// The state before the first step of a worker's sequences
template <class T>
void pack_initial(const Net<T>& net, Workspace<T>& w, const Batch& batch, i64 row0, i64 row1) {
  const Kernels<T>& k = kernels_for(w);
  const i64 n = w.panel;
  bool fine = true, fine_static = true;
  const i64 constants = batch.static_inputs ? net.spec.static_size : 0;
  for (i64 b = row0; b < row1 && constants; ++b)
    fine_static &=
        copy_numbers(k, batch.static_inputs, w.plan.place(b), 0, constants, 1, w.static_rows + b * constants);
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    for (int s = 0; s < net.info.states; ++s) {
      const Array given = batch.initial[s] ? part_of(batch.initial[s], static_cast<i64>(i)) : Array{};
      const T* learned = net.spec.learn_state ? net.params + net.initial[s] + static_cast<i64>(i) * net.H() : nullptr;
      for (i64 p = 0; p * n < net.H(); ++p)
        for (i64 b = row0; b < row1; ++b) {
          T* to = w.layers[i].saved + s * w.layers[i].saved_stride + p * w.layers[i].panel + b * n;
          const i64 real = std::min(n, net.H() - p * n);
          std::fill_n(to, n, T(0));
          if (given && w.plan.carries_on(b)) {
            Array part = given;  // the columns of this panel
            part.data = static_cast<const std::byte*>(part.data) + p * n * part.strides[1];
            fine &= copy_numbers(k, part, w.plan.place(b), 0, real, 1, to);
          } else if (learned) {
            std::copy_n(learned + p * n, real, to);
          }
          if (constants && !given)
            k.row_product(w.static_rows + b * constants, constants,
                          net.params + net.static_map[s] + static_cast<i64>(i) * net.H() + p * n,
                          net.spec.state_rows() * net.H(), real, to);
        }
    }
  if (!fine) w.found.initial = true;
  if (!fine_static) w.found.static_inputs = true;
}

// The inputs of a window for a worker's sequences, in the order of each direction
template <class T>
void pack_inputs(const Net<T>& net, Workspace<T>& w, const Batch& batch, i64 window, i64 row0, i64 row1) {
  const BatchPlan& plan = w.plan;
  const i64 t0 = plan.window(window).t0, t1 = plan.window(window).t1, base = plan.row(t0, 0);
  bool fine = true, fine_weights = true;
  for (i64 d = 0; d < net.D(); ++d) {
    const LayerBuffers<T>& buffers = w.layers[size_of(d)];
    for (i64 t = t0; t < t1 && !w.stop.reached(); ++t)
      for (i64 b = row0; b < std::min(row1, plan.running(t)); ++b) {
        const i64 step = plan.step(t, b, d > 0), row = plan.row(t, b) - base;
        T* to = buffers.x + row * w.x_stride;
        if (!net.spec.vocabulary) {
          fine &= copy_row(w, batch.x, b, step, net.I(), to);
          continue;
        }
        const i64 token = read<i64>(batch.x, plan.place(b), step);
        const bool known = token >= 0 && token < net.spec.vocabulary;
        fine &= known;
        buffers.tokens[row] = known ? static_cast<std::int32_t>(token) : 0;
        const T* from = net.params + net.embedding + i64(buffers.tokens[row]) * net.I();
        for (i64 j = 0; j < net.I(); ++j) fine_weights &= std::isfinite(to[j] = from[j]);
      }
  }
  if (!fine) w.found.x = true;
  if (!fine_weights) w.found.weights = true;
}

// One row of numbers into (or, added, onto) row `row` of panels, zeros beyond
template <class T>
void to_panels(const Net<T>& net, const Workspace<T>& w, const T* row, i64 to, bool add, T* panels, i64 panel) {
  for (i64 p = 0; p < panels_of(net, w); ++p) {
    T* out = panels + p * panel + to * w.panel;
    const T* from = row + p * w.panel;
    const i64 real = std::min(w.panel, net.H() - p * w.panel);
    for (i64 j = 0; j < real; ++j) out[j] = (add ? out[j] : T(0)) + from[j];
    for (i64 j = real; j < w.panel && !add; ++j) out[j] = T(0);
  }
}

// The caller's gradients of outputs, hidden and final states, in row order
template <class T>
void inject(const Net<T>& net, Workspace<T>& w, const OutputGradients& from) {
  const Kernels<T>& k = kernels_for(w);
  const BatchPlan& plan = w.plan;
  const i64 width = net.spec.output_width();
  for (i64 b = 0; b < plan.batch; ++b) {
    for (i64 t = 0; from.outputs && t < plan.length(b); ++t) {
      T* to = w.dy + plan.row(t, b) * width;
      if (!copy_row(w, from.outputs, b, plan.step(t, b), width, to) && from.check_finite)
        for (i64 j = 0; j < width; ++j)
          if (!std::isfinite(to[j])) throw_not_finite("d_outputs", double(to[j]), {plan.place(b), plan.step(t, b), j});
    }
    T* to = w.dy + b * width;
    if (from.last && !plan.is_last(b))
      std::fill_n(to, width, T(0));
    else if (from.last && !copy_numbers(k, from.last, plan.place(b), 0, width, 1, to) && from.check_finite)
      for (i64 j = 0; j < width; ++j)
        if (!std::isfinite(to[j])) throw_not_finite("d_last", double(to[j]), {plan.place(b), j});
  }
  w.d_final = bool(from.final_state[0]);
  std::vector<T> row(size_of(net.spec.width()));
  for (i64 b = 0; from.hidden && b < plan.batch; ++b)
    for (i64 t = 0; t < plan.length(b); ++t) {
      const i64 step = plan.step(t, b);
      if (!copy_row(w, from.hidden, b, step, net.spec.width(), row.data()) && from.check_finite)
        for (i64 j = 0; j < net.spec.width(); ++j)
          if (!std::isfinite(row[size_of(j)]))
            throw_not_finite("d_hidden", double(row[size_of(j)]), {plan.place(b), step, j});
      for (i64 d = 0; d < net.D(); ++d) {
        const LayerBuffers<T>& buffers = w.layers[size_of(net.top() + d)];
        to_panels(net, w, row.data() + d * net.H(), plan.row(d ? plan.length(b) - 1 - t : t, b), false, buffers.dh,
                  buffers.dh_panel);
      }
    }
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    for (int s = 0; s < net.info.states; ++s) {
      if (!from.final_state[s]) continue;
      const LayerBuffers<T>& buffers = w.layers[i];
      const Array part = part_of(from.final_state[s], static_cast<i64>(i));
      for (i64 b = 0; b < plan.batch; ++b) {
        if (!plan.is_last(b))
          std::fill(row.begin(), row.end(), T(0));
        else if (!copy_numbers(k, part, plan.place(b), 0, net.H(), 1, row.data()) && from.check_finite)
          for (i64 j = 0; j < net.H(); ++j)
            if (!std::isfinite(row[size_of(j)]))
              throw_not_finite(
                  std::string("d_final_state") + (net.info.states > 1 ? "[" + std::to_string(s) + "]" : ""),
                  double(row[size_of(j)]), {static_cast<i64>(i), plan.place(b), j});
        if (s == 0) to_panels(net, w, row.data(), b, false, buffers.d_final, buffers.batch_panel);
        for (int c = 0; s > 0 && c < net.info.carries; ++c)
          if (net.info.carry_state[c] == s)
            to_panels(net, w, row.data(), b, false, buffers.carry + c * buffers.batch_stride, buffers.batch_panel);
      }
    }
}

// Locates an error that packing found, in the caller's arrays
template <class T>
[[gnu::cold]] void report_inputs(const Net<T>& net, const Workspace<T>& w, const Batch& batch) {
  if (w.found.x && net.spec.vocabulary) report_tokens(net, w, batch);
  if (!batch.check_finite) return;
  const BatchPlan& plan = w.plan;
  for (i64 i = 0; w.found.x && i < plan.batch; ++i)
    for (i64 s = 0, b = plan.place(i); s < plan.length(i); ++s)
      for (i64 j = 0, t = plan.step(s, i); j < net.I(); ++j) {
        const auto value = batch.packed ? read<double>(batch.x, plan.row(s, i), 0, j) : read<double>(batch.x, b, t, j);
        if (!std::isfinite(value)) throw_not_finite("x", value, {b, t, j});
        if (!std::isfinite(T(value)))
          throw ArgumentError({.argument = "x",
                               .problem = "holds " + number(value),
                               .expected = "values that float32 can hold",
                               .index = {b, t, j},
                               .value = value});
      }
  for (int s = 0; w.found.initial && s < net.info.states; ++s)
    for (i64 i = 0; batch.initial[s] && i < net.spec.state_rows(); ++i)
      for (i64 b = 0; b < plan.callers_batch; ++b)
        for (i64 j = 0; j < net.H() && !(batch.resets && batch.resets[b * plan.time]); ++j) {
          const auto value = read<T>(batch.initial[s], i, b, j);
          if (!std::isfinite(value))
            throw_not_finite(net.info.state_names[s] + std::string("0"), double(value), {i, b, j});
        }
  for (i64 b = 0; w.found.static_inputs && b < plan.batch; ++b)
    for (i64 f = 0; f < net.spec.static_size; ++f)
      if (const T value = read<T>(batch.static_inputs, b, f); !std::isfinite(value))
        throw_not_finite("static", double(value), {b, f});
  if (w.found.x || w.found.initial || w.found.static_inputs)
    throw ArgumentError({"x, h0 or static", "held a value that is not finite, and changed during the call"});
}

template <class T>
[[gnu::cold]] void report_tokens(const Net<T>& net, const Workspace<T>& w, const Batch& batch) {
  for (i64 i = 0; i < w.plan.batch; ++i)
    for (i64 s = 0, b = w.plan.place(i); s < w.plan.length(i); ++s) {
      const i64 t = w.plan.step(s, i), token = read<i64>(batch.x, b, t);
      if (token < 0 || token >= net.spec.vocabulary)
        throw_unknown("x", "token", token, {b, t}, "tokens", net.spec.vocabulary);
    }
  throw ArgumentError({"x", "held an unknown token, and changed during the call"});
}

}  // namespace fastbptt

#endif
