// Packs parameters and the caller's arrays into the panels and rows that the kernels read, and checks their contents.
#ifndef FASTBPTT_ENGINE_PACKING_H
#define FASTBPTT_ENGINE_PACKING_H

#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "engine/dropout.h"
#include "engine/layer_directions.h"
#include "engine/noise.h"
#include "thread_pool.h"

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
  DirectionWeights(const Net<T>& net, const LayerDirection& dir, const LayerBuffers<T>& buffers,
                   const TorchWeights<const void>* from)
      : given(from) {
    if (from) {
      input = {static_cast<const T*>(from->input), dir.inputs, true};
      hidden = {static_cast<const T*>(from->hidden), net.H(), true};
    } else {
      input = {net.params + dir.W_xh, net.GH(), false};
      hidden = {net.spec.rank ? buffers.recurrent : net.params + dir.W_hh, net.GH(), false};
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

// W_hh of low rank: a worker's share of the rows of all layer directions; then the team meets
template <class T>
[[gnu::cold]] void form_recurrent(const Net<T>& net, const Workspace<T>& w, int worker, int team, Barrier& barrier) {
  if (!net.spec.rank) return;
  const i64 rank = net.spec.rank, H = net.H(), GH = net.GH(), padded = padded_rank(net, w);
  const auto [from, to] = share(H, worker, team);
  const auto [column0, column1] = share(GH, worker, team);
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
    const T *N = net.params + net.layer_directions[i].N_hh, *M = net.params + net.layer_directions[i].M_hh;
    const LayerBuffers<T>& b = w.layers[i];
    for (i64 j = from; j < to; ++j) {
      std::fill_n(b.recurrent + j * GH, GH, T(0));
      kernels_for(w).row_product(N + j * rank, rank, M, GH, GH, b.recurrent + j * GH);
      for (i64 k = 0; k < rank; ++k) b.n_transposed[k * H + j] = N[j * rank + k];
    }
    for (i64 c = column0; c < column1; ++c)
      for (i64 k = 0; k < padded; ++k) b.m_transposed[c * padded + k] = k < rank ? M[k * GH + c] : T(0);
  }
  barrier.meet();
}

// from: of each layer direction, or null for the engine's own
template <class T>
void pack_weights(const Net<T>& net, Workspace<T>& w, const TorchWeights<const void>* from, bool backward, int worker,
                  int team) {
  i64 panel = 0;
  const auto mine = [&] { return panel++ % team == worker; };
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
    const LayerDirection& dir = net.layer_directions[i];
    const LayerBuffers<T>& b = w.layers[i];
    const DirectionWeights<T> weights(net, dir, b, from ? from + i : nullptr);
    if (w.lanes > 1) {
      if (mine()) pack_lanes(net, w, dir, weights, b, backward, 0);
      continue;
    }
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
  for (std::size_t i = 0; net.info.setting && worker == 0 && i < net.layer_directions.size(); ++i)
    pack_setting(net, w, i, 0);
}

// The cell's numbers of a layer direction's units; with lanes each in all lanes, or in the one that is this network,
// for as many groups as go together
template <class T>
void pack_setting(const Net<T>& net, const Workspace<T>& w, std::size_t i, i64 lane) {
  T* const to = w.layers[i].setting;
  const i64 H = net.H(), n = panels_of(net, w) * w.panel;
  if (w.lanes == 1) {
    net.read_setting(i, to);
    std::fill(to + H, to + n, T(0));
    return;
  }
  T one[most_lane_units];
  net.read_setting(i, one);
  for (i64 v = 0; v < lane_setting_vectors(H); ++v) std::fill_n(to + v * w.lanes + lane, w.lanes / w.each, one[v % H]);
}

// A matrix of weights in blocks (lane_block), of value(row, column), w.each elements apart; returns its end
template <class T, class F>
T* pack_lane_blocks(const Workspace<T>& w, i64 rows, i64 columns, T* to, const F& value) {
  const i64 block = lane_block(columns, kernels_for(w).lanes->block);
  for (i64 first = 0; first < columns; first += block)
    for (i64 row = 0; row < rows; ++row)
      for (i64 c = first; c < std::min(columns, first + block); ++c, to += w.each) *to = value(row, c);
  return to;
}

// All weights of a layer as the kernels of lanes read them: forward, pre-activations with the same operands side by
// side, as far as their saved activations are; backward, transposed, a row for each number that flows back. lane: the
// one that is this network, where each is one of its own
template <class T>
void pack_lanes(const Net<T>& net, const Workspace<T>& w, const LayerDirection& dir, const DirectionWeights<T>& weights,
                const LayerBuffers<T>& b, bool backward, i64 lane) {
  const i64 H = net.H(), outputs = net.readout_of(dir);
  const auto& all = net.info.preactivation;
  i64 column[CellInfo::most_preactivations * most_lane_units];  // of W_xh or W_hh
  T* to = b.w_forward + lane;
  for (int j = 0, end = 0; j < net.info.preactivations; j = end) {
    for (end = j + 1; end < net.info.preactivations && all[end].stage == all[j].stage &&
                      all[end].input == all[j].input && all[end].hidden == all[j].hidden &&
                      all[end].saved == all[j].saved + end - j;)
      ++end;
    const i64 inputs = net.inputs_of(all[j], dir), hidden = net.hidden_of(all[j]);
    for (int k = j; k < end; ++k) {
      std::iota(column + (k - j) * H, column + (k - j + 1) * H, all[k].gate * H);
      T bias[most_lane_units];
      weights.bias(net, dir, k, 0, H, bias);
      for (i64 u = 0; u < H; ++u) b.bias[(k * H + u) * w.each + lane] = bias[u];
    }
    to = pack_lane_blocks(w, inputs + hidden, (end - j) * H, to, [&](i64 row, i64 c) {
      return row < inputs ? *weights.input.at(row, column[c]) : *weights.hidden.at(row - inputs, column[c]);
    });
  }
  const auto readout = [&](i64 o, i64 u) {
    const i64 row = net.read_row.empty() ? u : net.read_row[size_of(u)];
    return row < 0 ? T(0) : net.params[net.W_hy + row * outputs + o];
  };
  to = b.w_backward + lane;
  for (i64 o = 0; o < outputs; ++o)
    for (i64 u = 0; u < H; ++u, to += w.each) *to = readout(o, u);
  if (!backward) return;
  i64 count = 0;
  const auto add_gate = [&](int gate) {
    std::iota(column + count, column + count + H, gate * H);
    count += H;
  };
  for (const bool before : {true, false})
    for (int j = 0; j < net.info.preactivations; ++j)
      if (all[j].hidden != Preactivation::none && (all[j].hidden == Preactivation::before) == before)
        add_gate(all[j].gate);
  pack_lane_blocks(w, net.depth_back(dir), H, to, [&](i64 row, i64 u) {
    return row < outputs ? readout(row, u) : *weights.hidden.at(u, column[row - outputs]);
  });
  if (!b.w_input[0] || (dir.layer == 0 && !w.input_weights)) return;
  count = 0;
  for (int j = 0; j < net.info.preactivations; ++j)
    if (all[j].input) add_gate(all[j].gate);
  pack_lane_blocks(w, net.with_input * H, dir.inputs, b.w_input[0] + lane,
                   [&](i64 row, i64 c) { return *weights.input.at(c, column[row]); });
}

// The bias of the readout; whether all weights are finite
template <class T>
void pack_rest(const Net<T>& net, Workspace<T>& w, i64 lane = 0) {
  for (i64 o = 0; o < net.O(); ++o)
    w.b_y[o * w.each + lane] = net.spec.has_output_bias() ? net.params[net.b_y + o] : T(0);
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

// One row's states side by side, for the part of a cell that makes h from the state that is given
template <class T>
class RowOfStates {
 public:
  RowOfStates(const Net<T>& net, const Workspace<T>& w)
      : padded_((net.H() + kernels_for(w).vector - 1) / kernels_for(w).vector * kernels_for(w).vector),
        vectors_(static_cast<int>(padded_ / kernels_for(w).vector)),
        all_(size_of((net.info.states + 1) * padded_)) {}
  T* h() { return all_.data(); }
  T* given() { return all_.data() + padded_; }
  T* d() { return all_.data() + static_cast<i64>(all_.size()) - padded_; }  // in the place of dgates
  ElementArgs<T> args() {
    ElementArgs<T> e{};
    e.now = h();
    e.saved_stride = padded_;
    e.dgates = d();
    e.rows = 1;
    e.vectors = vectors_;
    return e;
  }

 private:
  i64 padded_;
  int vectors_;
  std::vector<T> all_;
};

// h of the state before a sequence's first step
template <class T>
void show_initial(const Net<T>& net, const Workspace<T>& w, i64 b) {
  RowOfStates<T> row(net, w);
  for (const LayerBuffers<T>& buffers : w.layers) {
    read_row(w, net.H(), buffers.saved + net.info.given * buffers.saved_stride, buffers.panel, b, row.given());
    cell_for(net, w).show(row.args());
    to_panels(net, w, row.h(), b, false, buffers.saved, buffers.panel);
  }
}

// The state before the first step of a worker's sequences, or of every so many of them
template <class T>
void pack_initial(const Net<T>& net, Workspace<T>& w, const Batch& batch, i64 row0, i64 row1, i64 every = 1) {
  const Kernels<T>& k = kernels_for(w);
  const i64 n = w.panel;
  bool fine = true, fine_static = true;
  const i64 constants = batch.static_inputs ? net.spec.static_size : 0;
  for (i64 b = row0; b < row1 && constants; ++b)
    fine_static &=
        copy_numbers(k, batch.static_inputs, w.plan.place(b), 0, constants, 1, w.static_rows + b * constants);
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
    for (int s = 0; w.lanes > 1 && every == 1 && s < net.info.states; ++s)
      for (T* rows :
           {w.layers[i].saved + s * w.layers[i].saved_stride, w.layers[i].last + s * w.layers[i].batch_stride})
        std::fill(rows + row0 * n, rows + w.plan.whole(row1) * n, T(0));  // dead rows stay as they are
    for (int s = net.info.given; s < net.info.states; ++s) {
      const Array given = batch.initial[s] ? part_of(batch.initial[s], static_cast<i64>(i)) : Array{};
      const T* learned = net.spec.learn_state ? net.params + net.initial[s] + static_cast<i64>(i) * net.H() : nullptr;
      T* const states = w.layers[i].saved + s * w.layers[i].saved_stride;
      for (i64 p = 0; p * n < net.H(); ++p)
        for (i64 b = row0; b < row1; b += every) {
          T lane[most_lane_units];
          T* to = w.lanes > 1 ? lane : states + p * w.layers[i].panel + b * n;
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
          if (w.lanes > 1) to_panels(net, w, lane, b, false, states, 0);
        }
    }
  }
  for (i64 b = row0; b < row1 && net.info.given > 0; b += every) show_initial(net, w, b);
  if (!fine) w.found.initial = true;
  if (!fine_static) w.found.static_inputs = true;
  pack_masks(net, w, batch, row0, row1);
}

// The masks of recurrent dropout, one for each sequence
template <class T>
void pack_masks(const Net<T>& net, Workspace<T>& w, const Batch& batch, i64 row0, i64 row1) {
  static constexpr auto ones = [] {
    std::array<T, most_panel> all{};
    all.fill(T(1));
    return all;
  }();
  const Dropout dropout(batch.noise_seed, net.spec.recurrent_dropout);
  for (std::size_t i = 0; i < net.layer_directions.size() && w.layers[i].mask; ++i) {
    const LayerDirection& dir = net.layer_directions[i];
    const i64 stream = static_cast<i64>(mask_stream) + 2 * dir.layer + dir.direction;
    for (i64 p = 0; p < panels_of(net, w); ++p)
      for (i64 b = row0; b < row1; ++b) {
        const i64 column = p * w.panel, real = std::min(w.panel, net.H() - column);
        T* to = w.layers[i].mask + p * w.layers[i].batch_panel + b * w.panel;
        dropout.apply(stream, number_in(batch, w.plan.place(b)), 0, column, real, ones.data(), to);
        std::fill(to + real, to + w.panel, T(0));
      }
  }
}

// The inputs of a window into lanes, of the batch of each. bad: of each lane, set where a number is not finite, or a
// token unknown
template <class T>
void pack_lane_inputs(const Net<T>& net, Workspace<T>& w, const Batch* const* batches, i64 window, i64 row0, i64 row1,
                      bool* bad) {
  const BatchPlan& plan = w.plan;
  const LayerBuffers<T>& buffers = w.layers[0];
  const i64 t0 = plan.window(window).t0, t1 = plan.window(window).t1, base = plan.row(t0, 0), n = net.I(), V = w.lanes;
  const bool noisy = w.input_noise > 0,
             direct = !net.spec.vocabulary && !noisy &&
                      std::all_of(batches, batches + V, [n](const Batch*b) { return lies_in_rows<T>(b->x, n); });
  const NoiseArgs<T> noise = noisy ? noise_args(net, w, 0, Keys::inputs) : NoiseArgs<T>{};
  constexpr i64 at_once = 256;  // steps, between two looks at an interruption
  bool fine_weights = true;
  T seen[most_lanes] = {};
  for (i64 g = row0; g < row1; g += V) {
    const T* from[most_lanes] = {};
    for (i64 b = g; b < std::min(row1, g + V); ++b) {
      const Array& x = batches[b - g]->x;
      from[b - g] = direct ? reinterpret_cast<const T*>(static_cast<const std::byte*>(x.data) +
                                                        plan.place(b) * x.strides[0] + plan.step(0, b) * x.strides[1])
                           : buffers.x_rows + b * n;
    }
    for (i64 t = t0, end; t < t1 && plan.running(t) > g && !w.stop.reached(); t = end) {
      const i64 real = std::min({row1, g + V, plan.running(t)}) - g, row = plan.row(t, g) - base;
      end = t + 1;
      if (direct) {
        while (end < std::min(t1, t + at_once) && plan.running(end) == plan.running(t)) ++end;
        const T* own[most_lanes] = {};
        for (i64 v = 0; v < real; ++v) own[v] = from[v] + t * n;
        const i64 step = end > t + 1 ? plan.row(t + 1, g) - plan.row(t, g) : 0;
        kernels_for(w).lanes->columns(own, (end - t) * n, n, step * n, buffers.x + row * n, seen);
        continue;
      }
      for (i64 b = g; b < g + real; ++b) {
        T* to = buffers.x_rows + b * n;
        const Array& x = batches[b - g]->x;
        if (!net.spec.vocabulary) {
          bad[b - g] |= !copy_row(w, x, b, plan.step(t, b), n, to);
          if (noisy) add_input_noise(w, noise, t, b, n, to);
          continue;
        }
        const i64 token = read<i64>(x, plan.place(b), plan.step(t, b));
        const bool known = token >= 0 && token < net.spec.vocabulary;
        bad[b - g] |= !known;
        buffers.tokens[row + b - g] = known ? static_cast<std::int32_t>(token) : 0;
        const T* embedded = net.params + net.embedding + i64(buffers.tokens[row + b - g]) * n;
        for (i64 j = 0; j < n; ++j) fine_weights &= std::isfinite(to[j] = embedded[j]);
      }
      T* to = buffers.x + row * n;
      for (i64 j = 0; j < n; ++j, to += V)
        for (i64 v = 0; v < V; ++v) to[v] = v < real ? from[v][j] : T(0);
    }
  }
  for (i64 v = 0; v < V; ++v) bad[v] |= direct && !(seen[v] == 0);
  if (!fine_weights) w.found.weights = true;
}

// The inputs of a window for a worker's sequences, in the order of each direction
template <class T>
void pack_inputs(const Net<T>& net, Workspace<T>& w, const Batch& batch, i64 window, i64 row0, i64 row1) {
  if (w.lanes > 1) {
    const Batch* same[most_lanes];
    std::fill_n(same, most_lanes, &batch);
    bool bad[most_lanes] = {};
    pack_lane_inputs(net, w, same, window, row0, row1, bad);
    if (std::any_of(bad, bad + most_lanes, [](bool b) { return b; })) w.found.x = true;
    return;
  }
  const BatchPlan& plan = w.plan;
  const i64 t0 = plan.window(window).t0, t1 = plan.window(window).t1, base = plan.row(t0, 0);
  bool fine = true, fine_weights = true;
  for (i64 d = 0; d < net.D(); ++d) {
    const LayerBuffers<T>& buffers = w.layers[size_of(d)];
    const bool noisy = w.input_noise > 0;
    const NoiseArgs<T> noise = noisy ? noise_args(net, w, size_of(d), Keys::inputs) : NoiseArgs<T>{};
    for (i64 t = t0; t < t1 && !w.stop.reached(); ++t)
      for (i64 b = row0; b < std::min(row1, plan.running(t)); ++b) {
        const i64 step = plan.step(t, b, d > 0), row = plan.row(t, b) - base;
        T* to = buffers.x + row * w.x_stride;
        if (!net.spec.vocabulary) {
          fine &= copy_row(w, batch.x, b, step, net.I(), to);
          if (noisy) add_input_noise(w, noise, t, b, net.I(), to);
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

// One row of numbers into (or, added, onto) row `row` of panels, zeros beyond, or of lanes
template <class T>
void to_panels(const Net<T>& net, const Workspace<T>& w, const T* row, i64 to, bool add, T* panels, i64 panel) {
  T* const lane = lane_of(w, panels, net.H(), to);
  for (i64 j = 0; w.lanes > 1 && j < net.H(); ++j) lane[j * w.lanes] = add ? lane[j * w.lanes] + row[j] : row[j];
  if (w.lanes > 1) return;
  for (i64 p = 0; p < panels_of(net, w); ++p) {
    T* out = panels + p * panel + to * w.panel;
    const T* from = row + p * w.panel;
    const i64 real = std::min(w.panel, net.H() - p * w.panel);
    for (i64 j = 0; j < real; ++j) out[j] = add ? out[j] + from[j] : from[j];
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
  w.carry_enters = net.info.states > 1 && from.final_state[1];
  std::vector<T> row(size_of(net.spec.width()));
  if (w.lanes > 1 && (from.hidden || (from.outputs && !net.O())))  // dead rows
    std::fill_n(w.layers.back().dh, plan.rows * net.H(), T(0));
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
              throw_not_finite(std::string("d_final_state") +
                                   (net.info.states - net.info.given > 1 ? "[" + std::to_string(s) + "]" : ""),
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
  for (int s = net.info.given; w.found.initial && s < net.info.states; ++s)
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
