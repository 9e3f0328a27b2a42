// Buffer sizes and layout of a pass over a batch.
#ifndef FASTBPTT_ENGINE_BUFFERS_H
#define FASTBPTT_ENGINE_BUFFERS_H

#include <algorithm>
#include <limits>
#include <new>

#include "engine/layer_directions.h"

namespace fastbptt {

constexpr std::size_t page = 4096;

template <class T>
void prepare_set(const Net<T>& net, Workspace<T>& w, const InstructionSet& set) {
  w.set = &set;
  if (net.spec.bfloat16 && !kernels_for(w).pair_rows)
    throw ArgumentError(
        {"precision", "is 'bfloat16'",
         "'float32' because the instruction set " + std::string(w.set->name) + " has no products in bfloat16"});
  w.found.clear();
  w.d_final = w.carry_enters = false;
  w.layers.resize(net.layer_directions.size());
}

constexpr i64 rows_per_block = 512;  // docs/performance.md, "blocks of time"

// Rows lie in lanes where that is measured to be faster than panels (docs/performance.md, "Rows along the lanes"). A
// unit of a row costs 1 in full panels; a vector alone in its panel has too few sums to hide the latency of one
template <class T>
Grouping grouping_of(const Net<T>& net, const Workspace<T>& w, const Needs& needs, i64 batch) {
  constexpr double lane_cost = 1.08, lone_vector_cost = 1.5;
  const i64 H = net.H(), V = kernels_for(w).vector, N = kernels_for(w).panel, rest = (H % N + V - 1) / V;
  if (batch == 1 || H > most_lane_units || net.O() > most_lane_outputs || net.D() == 2 || net.spec.bfloat16 ||
      needs.drop || needs.masks || needs.zones || pools(needs.steps))
    return {};
  const i64 full = H / N * N, padded = (H + N - 1) / N * N;
  const double panel_cost = double(full) + double(rest * V) * (rest == 1 ? lone_vector_cost : 1);
  return {V, panel_cost / (lane_cost * double(H)), double(padded) / double(H), lane_block_rows(net)};
}

// Rows of a block: in lanes up to twice as many, since narrow ones fill the cache later
template <class T>
i64 lane_block_rows(const Net<T>& net) {
  constexpr i64 bytes = i64(1) << 17;
  const i64 row = net.H() * (net.info.preactivations + 1) * i64(sizeof(T));
  return std::clamp(bytes / row, rows_per_block, 2 * rows_per_block);
}

template <class T>
void choose_layout(const Net<T>& net, Workspace<T>& w) {
  w.lanes = w.plan.group;
  w.panel = w.lanes > 1 ? net.H() : kernels_for(w).panel;
}

// Whether each lane is a network of its own, and how many sums a weight gradient is then
template <class T>
void set_lanes_apart(Workspace<T>& w, i64 each, i64 chains) {
  if (w.each == each && w.chains == chains) return;
  w.each = each;
  w.chains = chains;
  w.plan.batch = -1;  // made anew
  w.kept_layout = w.scratch_layout = {};
}

// like: the workspace whose packed weights this one reads, or null
template <class T>
void prepare(const Net<T>& net, Workspace<T>& w, const Batch& batch, const Needs& needs, const Workspace<T>* like) {
  prepare_set(net, w, like ? *like->set : active());
  set_lanes_apart(w, 1, 1);
  Grouping grouping;
  if (like && like->lanes > 1)
    grouping = {like->lanes, std::numeric_limits<double>::infinity(), 1, lane_block_rows(net)};
  else if (!like && !batch.packed)
    grouping = grouping_of(net, w, needs, batch.x.shape[0]);
  w.plan.make(batch.x.shape[0], batch.x.shape[1], batch.lengths, batch.resets, rows_per_block, grouping);
  choose_layout(net, w);
}

// For measuring: no size is too large. f() for each layout that a batch of this size may have: it depends on lengths
// and resets
template <class T, class F>
i64 most_of_layouts(const Net<T>& net, Workspace<T>& w, const Size& size, const Needs& needs, const F& f) {
  prepare_set(net, w, active());
  const Grouping grouping = grouping_of(net, w, needs, size.batch);
  prepare_sizes(net, w, size, grouping);
  const i64 bytes = f();
  if (grouping.rows == 1) return bytes;
  if (size.resets > 0)
    prepare_sizes(net, w, size, Grouping{});
  else if (w.plan.make_uneven_sizes(size.batch, size.time, rows_per_block, grouping))
    choose_layout(net, w);
  else
    return bytes;
  return std::max(bytes, f());
}

template <class T>
void prepare_sizes(const Net<T>& net, Workspace<T>& w, const Size& size, const Grouping& grouping) {
  w.plan.make_sizes(size.batch, size.time, size.resets, rows_per_block, grouping);
  choose_layout(net, w);
}

// The most that a training step of this size may need
template <class T>
Needs training_needs(const Net<T>& net, const Size& size) {
  return {.steps = size.steps,
          .loss = true,
          .each_factor = size.steps == Steps::all,
          .backward = true,
          .gradient = true,
          .input_gradient = !net.spec.vocabulary,
          .drop = net.spec.dropout > 0,
          .noise = net.spec.input_noise > 0 || net.spec.recurrent_noise > 0,
          .masks = net.spec.recurrent_dropout > 0,
          .zones = net.spec.has_zoneout(),
          .zone_draws = net.spec.has_zoneout(),
          .norms = size.norms,
          .numbers = size.activity && net.info.omega == CellInfo::Omega::leaky,
          .activity = size.activity,
          .omega = size.activity && net.info.omega != CellInfo::Omega::none};
}

template <class T>
i64 bytes_of(const Net<T>& net, Workspace<T>& w, const Needs& needs) {
  w.kept_layout = w.scratch_layout = {};  // measuring invalidates the addresses
  return std::min(
      w.kept.measure(kept_buffers(net, w, needs)) + w.scratch.measure(scratch_buffers(net, w, needs)) + w.plan.bytes(),
      most_elements);
}

// Splits time into the fewest windows that fit the budget (0: no limit, one window) and the machine; returns the bytes
// required. limit: of the machine; measuring has none
template <class T>
i64 fit_windows(const Net<T>& net, Workspace<T>& w, const Needs& needs, i64 budget, i64 limit) {
  if (w.plan.window_count != 1) w.plan.split_windows(1);
  if (budget <= 0) return 0;
  if (net.spec.bidirectional) throw ArgumentError({"memory_budget", "is given", "none for a bidirectional network"});
  const i64 most_bytes = std::min(budget, limit);
  i64 bytes = bytes_of(net, w, needs);
  for (i64 windows = 2; bytes > most_bytes; windows += std::max<i64>(windows / 8, 1)) {
    const i64 most = w.plan.block_count;
    if (windows > most) {
      bytes = smallest(net, w, needs);
      if (bytes <= most_bytes) break;
      if (bytes <= budget) throw std::bad_alloc();
      throw ArgumentError({.argument = "memory_budget",
                           .problem = "is " + std::to_string(budget) + " bytes",
                           .expected = "at least " + std::to_string(bytes) + " for such a batch",
                           .value = budget});
    }
    w.plan.split_windows(windows);
    bytes = bytes_of(net, w, needs);
  }
  return bytes;
}

// For a pass without a backward one: windows of so many rows that what a layer saves stays in the cache
template <class T>
void split_for_prediction(const Net<T>& net, Workspace<T>& w) {
  constexpr i64 cache = i64(1) << 20;  // bytes
  const i64 row = net.info.saved * panels_of(net, w) * w.panel * i64(sizeof(T));
  const i64 rows = std::max(cache / row, rows_per_block),
            windows = std::min((w.plan.rows + rows - 1) / rows, w.plan.block_count);
  if (net.D() == 1 && w.plan.window_count != windows) w.plan.split_windows(windows);
}

// The number of windows that needs the least memory, and its bytes: many windows have many checkpoints
template <class T>
i64 smallest(const Net<T>& net, Workspace<T>& w, const Needs& needs) {
  const i64 most = w.plan.block_count;
  i64 best = 1, least = std::numeric_limits<i64>::max();
  const auto look = [&](i64 windows) {
    w.plan.split_windows(windows);
    const i64 bytes = bytes_of(net, w, needs);
    if (bytes >= least) return;
    least = bytes;
    best = windows;
  };
  for (i64 windows = 1; windows < most; windows += std::max<i64>(windows / 16, 1)) look(windows);
  look(most);  // as few blocks as there are, where lengths leave fewer than equal ones have
  w.plan.split_windows(best);
  return least;
}

// Stride between matrices that keeps their equal rows in different cache sets
template <class T>
i64 spread_matrix(i64 elements) {
  constexpr std::size_t offset = 1600;
  const std::size_t rest = size_of(elements) * sizeof(T) % page;
  return elements + static_cast<i64>((offset + page - rest) % page / sizeof(T));
}

// Slots of panels of so many rows and columns in pairs
template <class T>
PairBuffer pair_buffer(const Workspace<T>& w, Arena& a, i64 slots, i64 rows, i64 columns) {
  PairBuffer buffer;
  buffer.panel = bounded_product(spread_rows(rows, size_of(w.panel) * sizeof(Pair)), w.panel);
  buffer.slot = bounded_product((columns + w.panel - 1) / w.panel, buffer.panel);
  buffer.rows = a.allocate<Pair>(slots, buffer.slot);
  return buffer;
}

// Returns a function that allocates the buffers that forward fills for backward
template <class T>
auto kept_buffers(const Net<T>& net, Workspace<T>& w, const Needs& needs) {
  const i64 n = w.panel, panels = panels_of(net, w), rows = w.plan.window_rows, b = w.plan.lead(), weights = n * w.each;
  const std::size_t row_bytes = size_of(n) * sizeof(T);
  w.x_stride = net.I() + (w.lanes == 1 && net.I() * i64(sizeof(T)) % 2048 == 0 ? 64 / i64(sizeof(T)) : 0);
  const i64 batch_panel = bounded_product(spread_rows(b, row_bytes), n),
            above_panel = bounded_product(spread_rows(rows, row_bytes), n), windows = w.plan.window_count;
  w.input_weights = needs.input_gradient || net.trains_embedding();
  return [=, &net, &w](Arena& a) {
    for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
      const LayerDirection& p = net.layer_directions[i];
      LayerBuffers<T>& buffers = w.layers[i];
      const bool first = p.layer == 0, read_above = !net.is_top(p);
      buffers.w_forward = a.allocate<T>(panels, net.with_input * p.inputs + net.with_hidden * net.H(), weights);
      // in lanes the rows of the readout stand before the blocks again, for the forward pass
      buffers.w_backward = a.allocate<T>(panels, net.depth_back(p) + (w.lanes > 1 ? net.readout_of(p) : 0), weights);
      for (i64 s = 0; s < 2; ++s) {
        const bool wanted = first ? s == 0 && w.input_weights : s < net.D();
        const i64 columns = first ? net.I() : net.H();
        buffers.w_input[s] = a.allocate<T>(wanted ? (columns + n - 1) / n : 0, net.with_input * net.H(), weights);
      }
      buffers.recurrent = a.allocate<T>(net.spec.rank ? net.H() : 0, net.GH());
      buffers.n_transposed = a.allocate<T>(net.spec.rank, net.H());
      buffers.m_transposed = a.allocate<T>(net.spec.rank ? net.GH() : 0, padded_rank(net, w));
      buffers.bias = a.allocate<T>(net.info.preactivations, panels, weights);
      buffers.setting = a.allocate<T>(!net.info.setting ? 0
                                      : w.lanes > 1     ? lane_setting_vectors(net.H()) * w.lanes
                                                        : panels * n);
      buffers.x = a.allocate<T>(first ? rows : 0, w.x_stride);
      buffers.x_rows = a.allocate<T>(first && w.lanes > 1 ? b : 0, net.I());
      buffers.tokens = a.allocate<std::int32_t>(first && net.spec.vocabulary ? rows : 0);
      const i64 saved_rows = (needs.keep || read_above ? rows : b) + b;
      buffers.panel = bounded_product(spread_rows(saved_rows, row_bytes), n);
      buffers.saved_stride = spread_matrix<T>(bounded_product(panels, buffers.panel));
      buffers.saved = a.allocate<T>(net.info.saved + (needs.masks ? 1 : 0), buffers.saved_stride);
      buffers.candidate =
          needs.zones && net.info.preactivation[0].saved == 0 ? a.allocate<T>(buffers.saved_stride) : nullptr;
      buffers.mask = needs.masks ? a.allocate<T>(panels, batch_panel) : nullptr;
      buffers.batch_panel = batch_panel;
      buffers.batch_stride = bounded_product(panels, batch_panel);
      buffers.last = a.allocate<T>(net.info.states, buffers.batch_stride);
      const i64 pooled = net.is_top(p) && pools(needs.steps) ? buffers.batch_stride : 0;
      buffers.pooled = a.allocate<T>(pooled);
      buffers.maximum = a.allocate<std::int32_t>(needs.steps == Steps::max ? pooled : 0);
      buffers.above_panel = above_panel;
      buffers.dropped = a.allocate<T>(read_above && needs.drop ? panels : 0, above_panel);
      buffers.crossed = a.allocate<T>(read_above && net.D() == 2 ? panels : 0, above_panel);
      buffers.checkpoints =
          a.allocate<T>(windows > 1 && needs.keep ? windows : 0, net.info.states * panels, bounded_product(b, n));
    }
    link(net, w, needs.drop);
    w.noise_keys = a.allocate<std::uint64_t>(needs.noise || needs.zone_draws ? 3 : 0,
                                             static_cast<i64>(net.layer_directions.size()), b);
    const bool own_scales = needs.noise && net.spec.noise_by_setting && net.spec.setting.size() > 1;
    w.noise_scales = own_scales ? a.allocate<T>(static_cast<i64>(net.layer_directions.size()), panels, n) : nullptr;
    w.static_rows = a.allocate<T>(net.spec.static_size ? b : 0, net.spec.static_size);
    w.b_y = a.allocate<T>(net.O(), w.each);
    const bool outputs = net.O() || needs.loss || needs.outputs;
    w.y = a.allocate<T>(!outputs ? 0 : needs.all_steps() ? rows : b, net.spec.output_width());
    w.y_last = a.allocate<T>(b, net.spec.output_width());
    w.y_reverse = a.allocate<T>(net.D() == 2 && net.O() ? std::max(needs.all_steps() ? rows : b, b) : 0, net.O());
    w.pairs = {};
    if (net.spec.bfloat16)
      w.pairs = pair_buffer(w, a, std::max(net.info.preactivations, PairBuffer::hidden + net.info.stages), b,
                            (std::max(net.I(), net.H()) + 1) / 2);
  };
}

// Inputs of each layer from the layer below
template <class T>
void link(const Net<T>& net, Workspace<T>& w, bool drop) {
  const auto directions = size_of(net.D());
  for (std::size_t i = directions; i < net.layer_directions.size(); ++i)
    for (std::size_t s = 0; s < directions; ++s) {
      const LayerBuffers<T>& from = w.layers[size_of(net.layer_directions[i].layer - 1) * directions + s];
      if (static_cast<i64>(s) != net.layer_directions[i].direction)
        w.layers[i].below[s] = {from.crossed, from.above_panel, net.H()};
      else if (drop)
        w.layers[i].below[s] = {from.dropped, from.above_panel, net.H()};
      else
        w.layers[i].below[s] = {from.saved ? from.saved + w.plan.lead() * w.panel : nullptr, from.panel, net.H()};
    }
}

// Buffers that forward fills; tight: excess memory from a larger call is released
template <class T>
void begin_forward(const Net<T>& net, Workspace<T>& w, const Needs& needs, bool tight) {
  const ArenaLayout wanted{w.set, w.plan.number, needs};
  if (w.kept_layout == wanted) return;
  w.kept_layout = {};
  w.kept.lay_out(kept_buffers(net, w, needs), tight);
  w.kept_layout = wanted;
}

template <class T>
void begin_backward(const Net<T>& net, Workspace<T>& w, const Needs& needs, bool tight) {
  if (const ArenaLayout wanted{w.set, w.plan.number, needs}; w.scratch_layout != wanted) {
    w.scratch_layout = {};
    w.scratch.lay_out(scratch_buffers(net, w, needs), tight);
    for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
      make_tasks(net, w, net.layer_directions[i], w.layers[i]);
    w.scratch_layout = wanted;
  }
  for (const LayerBuffers<T>& b : w.layers)
    if (needs.backward) {
      std::fill_n(b.carry, net.info.carries * b.batch_stride, T(0));
      if (needs.zones) std::fill_n(b.kept, net.info.states * b.batch_stride, T(0));
    }
  std::fill_n(w.db_y, net.O() * w.each, 0.0);
}

template <class T>
auto scratch_buffers(const Net<T>& net, Workspace<T>& w, const Needs& needs) {
  const i64 n = w.panel, panels = panels_of(net, w), b = w.plan.lead(), window = w.plan.window_rows,
            rows = needs.all_steps() ? window : b, width = net.spec.output_width();
  const std::size_t row_bytes = size_of(n) * sizeof(T);
  const i64 gate_panel = bounded_product(spread_rows(w.plan.block_rows, row_bytes), n);
  const bool recomputes = w.plan.window_count > 1;
  return [=, &net, &w](Arena& a) {
    w.dgates_panel = gate_panel;
    w.dgates_stride = spread_matrix<T>(bounded_product(panels, gate_panel));
    w.dgates = a.allocate<T>(needs.backward ? net.gradients() : 0, w.dgates_stride);
    w.dh_kept = needs.numbers ? a.allocate<T>(w.dgates_stride) : nullptr;
    w.omega_rows = needs.omega ? a.allocate<T>(w.dgates_stride) : nullptr;
    w.omega_values = needs.omega ? a.allocate<double>(w.plan.block_rows) : nullptr;
    w.activity_sums =
        needs.activity ? a.allocate<double>(i64(net.layer_directions.size()), ActivityScales::terms, b) : nullptr;
    w.squares = needs.norms ? a.allocate<double>(w.plan.block_rows, 2 * kernels_for(w).squares) : nullptr;
    for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
      const LayerDirection& p = net.layer_directions[i];
      LayerBuffers<T>& buffers = w.layers[i];
      // d_outputs of a network with readout goes through dy, so that dh holds only what enters at the last step
      const bool each = !net.is_top(p) || needs.d_hidden || needs.activity || needs.steps == Steps::max;
      const i64 dh_rows = each ? window : net.O() ? b : rows;
      buffers.dh_panel = bounded_product(spread_rows(dh_rows, row_bytes), n);
      const i64 wanted = needs.backward ? 1 : 0;
      buffers.dh = a.allocate<T>(wanted * panels, buffers.dh_panel);
      buffers.d_final = a.allocate<T>(needs.d_final ? 1 : 0, buffers.batch_stride);
      buffers.d_pooled = a.allocate<T>(net.is_top(p) && pools(needs.steps) ? wanted * buffers.batch_stride : 0);
      buffers.change = a.allocate<T>(needs.activity ? 1 : 0, buffers.batch_stride);
      buffers.d_recurrent = a.allocate<T>(net.spec.rank ? wanted * net.H() : 0, net.GH());
      buffers.carry = a.allocate<T>(wanted * net.info.carries, buffers.batch_stride);
      buffers.kept = a.allocate<T>(needs.zones ? wanted * net.info.states : 0, buffers.batch_stride);
      buffers.next = a.allocate<T>(wanted * net.info.preactivations, buffers.batch_stride);
      const i64 sums = wanted * panels * w.lanes * w.chains;  // in lanes, each lane has a sum of its own
      buffers.dw = a.allocate<T>(sums, net.with_input * p.inputs + net.with_hidden * net.H() + net.gradients(), n);
      buffers.dw_y = a.allocate<T>(sums, net.readout_of(p), n);
      buffers.dx = a.allocate<T>(p.layer == 0 && net.trains_embedding() ? wanted * w.plan.block_rows : 0, net.I());
    }
    w.block_inputs = w.block_gates = {};
    if (net.spec.bfloat16 && needs.backward) {
      const i64 pairs = (w.plan.block_rows + 1) / 2;
      w.block_inputs = pair_buffer(w, a, PairBuffer::hidden + net.info.stages, pairs, std::max(net.I(), net.H()));
      w.block_gates = pair_buffer(w, a, net.info.preactivations, pairs, net.H());
    }
    w.dy = a.allocate<T>(rows, width);
    w.dy_lanes = a.allocate<T>(w.lanes > 1 && net.O() ? rows : 0, width);
    w.dy_reverse = a.allocate<T>(net.D() == 2 && net.O() && needs.all_steps() ? rows : 0, net.O());
    w.targets = a.allocate<T>(needs.loss ? rows : 0, width);
    w.factor = a.allocate<T>(needs.each_factor ? rows : b, width);
    w.loss_sum = a.allocate<double>(b, width);
    w.idle_sum = a.allocate<double>(recomputes ? b : 0, width);
    w.db_y = a.allocate<double>(net.O(), w.each);
    for (int s = 0; s < net.info.states; ++s)
      w.d_initial[s] = a.allocate<T>(net.trains_initial() || w.plan.episodes ? net.spec.state_rows() : 0, b, net.H());
    w.gradient = a.allocate<T>(needs.gradient ? net.count : 0);
  };
}

// Where the columns of the gates' gradients stand that one kind of left operand is multiplied with, from a group's
// first number on; want(preactivation)
template <class T, class Want>
std::vector<i64> gate_places(const Net<T>& net, const Workspace<T>& w, const Want& want) {
  std::vector<i64> places;
  for (int j = 0; j < net.info.preactivations; ++j)
    for (i64 u = 0; want(net.info.preactivation[j]) && u < net.H(); ++u)
      places.push_back(j * w.dgates_stride + u * w.lanes);
  return places;
}

// In lanes a task takes some columns of a left operand times all of the right one
template <class T>
void make_lane_tasks(const Net<T>& net, Workspace<T>& w, const LayerDirection& dir, LayerBuffers<T>& buffers) {
  w.gate_places[GradientTask::input] = gate_places(net, w, [](const Preactivation& p) { return p.input; });
  w.gate_places[GradientTask::below] = w.gate_places[GradientTask::input];
  w.gate_places[GradientTask::hidden] =
      gate_places(net, w, [](const Preactivation& p) { return p.hidden == Preactivation::before; });
  w.gate_places[GradientTask::later] = gate_places(net, w, [](const Preactivation& p) { return p.hidden >= 0; });
  w.gate_places[GradientTask::bias] = gate_places(net, w, [](const Preactivation&) { return true; });
  w.gate_places[GradientTask::setting].clear();
  for (i64 u = 0; net.spec.learn_setting && u < net.H(); ++u)
    w.gate_places[GradientTask::setting].push_back(net.info.preactivations * w.dgates_stride + u * w.lanes);
  w.gate_places[GradientTask::output].clear();
  for (i64 u = 0; u < net.H(); ++u) w.gate_places[GradientTask::output].push_back(u * w.lanes);
  const auto add = [&](GradientTask::Kind kind, i64 columns) {
    constexpr i64 at_once = 8;
    for (i64 c = 0; c < columns && !w.gate_places[kind].empty(); c += at_once) {
      buffers.tasks.push_back({kind, 0, 0, 0, 0, c, std::min(at_once, columns - c)});
      buffers.task_columns += buffers.tasks.back().columns;
    }
  };
  add(dir.layer ? GradientTask::below : GradientTask::input, dir.inputs);
  add(GradientTask::hidden, net.H());
  add(GradientTask::later, net.H());
  if (net.spec.bias) add(GradientTask::bias, 1);
  add(GradientTask::setting, 1);
  add(GradientTask::output, net.readout_of(dir));
}

template <class T>
void make_tasks(const Net<T>& net, Workspace<T>& w, const LayerDirection& dir, LayerBuffers<T>& buffers) {
  const i64 n = w.panel, panels = panels_of(net, w), columns_at_once = 4 * kernels_for(w).tile_rows;
  buffers.tasks.clear();
  buffers.task_columns = 0;
  if (w.lanes > 1) return make_lane_tasks(net, w, dir, buffers);
  for (int j = 0; j < net.info.preactivations; ++j) {
    const Preactivation& preactivation = net.info.preactivation[j];
    const auto add = [&](GradientTask::Kind kind, i64 p, i64 source, i64 operand, i64 columns) {
      for (i64 c = 0; c < columns; c += columns_at_once) {
        buffers.tasks.push_back({kind, j, p, source, operand, c, std::min(columns_at_once, columns - c)});
        buffers.task_columns += buffers.tasks.back().columns;
      }
    };
    for (i64 p = 0; p < panels; ++p) {
      for (i64 q = 0; preactivation.input && dir.layer == 0 && q * n < net.I(); ++q)
        add(GradientTask::input, p, 0, q, std::min(n, net.I() - q * n));
      for (i64 s = 0; preactivation.input && dir.layer > 0 && s < net.D(); ++s)
        for (i64 q = 0; q < panels; ++q) add(GradientTask::below, p, s, q, std::min(n, net.H() - q * n));
      for (i64 q = 0; preactivation.hidden != Preactivation::none && q < panels; ++q)
        add(GradientTask::hidden, p, 0, q, std::min(n, net.H() - q * n));
      if (net.spec.bias) add(GradientTask::bias, p, 0, 0, 1);
      if (j == 0) add(GradientTask::output, p, 0, 0, net.readout_of(dir));
    }
  }
  for (i64 p = 0; net.spec.learn_setting && p < panels; ++p, ++buffers.task_columns)
    buffers.tasks.push_back({GradientTask::setting, net.info.preactivations, p, 0, 0, 0, 1});
}

}  // namespace fastbptt

#endif
