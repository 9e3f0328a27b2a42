// The losses of a batch: weights, targets, and the blocks of outputs that have a loss each.
#ifndef FASTBPTT_ENGINE_LOSSES_H
#define FASTBPTT_ENGINE_LOSSES_H

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "engine/layer_directions.h"

namespace fastbptt {

// y or sample_weight as messages name it: with the block that it belongs to
inline std::string argument_of(const char* name, const OutputBlock& block) {
  return block.name ? name + ("[\"" + *block.name + "\"]") : std::string(name);
}
inline std::string weight_of(const OutputBlock& block) {
  return block.own_weights ? argument_of("sample_weight", block) : "sample_weight";
}

// Weight of a step in the loss, or of all steps of a sequence, as the caller gives it
inline double weight_at(const OutputBlock& o, i64 place, i64 t) {
  if (!o.sample_weight) return 1;
  return read<double>(o.sample_weight, place, o.weighs_steps() ? t : 0);
}

inline double checked_weight(const OutputBlock& o, i64 place, i64 t) {
  const double value = weight_at(o, place, t);
  if (value >= 0 && value <= std::numeric_limits<double>::max()) return value;
  const std::vector<i64> index = o.weighs_steps() ? std::vector<i64>{place, t} : std::vector<i64>{place};
  if (!std::isfinite(value)) throw_not_finite(weight_of(o), value, index);
  throw ArgumentError({.argument = weight_of(o),
                       .problem = "holds " + number(value),
                       .expected = "values from 0 up",
                       .index = index,
                       .value = value});
}

// What the weight of each sequence, or those of its steps, count in a block's loss; false: all are 0. Of every so many
// sequences from the first on
template <class T>
bool make_factors(const Workspace<T>& w, const Objective& objective, const OutputBlock& o, BlockBuffers<T>& block,
                  i64 first, i64 every) {
  const BatchPlan& plan = w.plan;
  const bool all = objective.steps == Steps::all;
  std::vector<double>& factor = block.exact_factor;
  block.each_factor = o.weighs_steps();
  double total = 0;  // of what the loss is divided by
  bool some = false;
  for (i64 b = first; b < plan.batch; b += every) {
    factor[size_of(b)] = 1;
    const double length = all ? double(plan.length(b)) : 1.0;
    double weights = 0;  // of all its steps
    if (!all && !plan.is_last(b)) {
      factor[size_of(b)] = 0;
      continue;
    }
    if (block.each_factor) {
      for (i64 t = 0; t < plan.length(b); ++t) weights += checked_weight(o, plan.place(b), plan.step(t, b));
    } else {
      factor[size_of(b)] = checked_weight(o, plan.place(b), 0);
      weights = factor[size_of(b)] * length;
    }
    some |= weights > 0;
    if (objective.reduction != Reduction::sequence_mean) {
      total += weights;
      continue;
    }
    total += block.each_factor ? weights / length : factor[size_of(b)];
    factor[size_of(b)] /= length;
  }
  if (!std::isfinite(total))
    throw ArgumentError({weight_of(o), "adds up to more than a number can hold", "smaller weights"});
  if (objective.reduction == Reduction::sum || !some) return some;
  total *= double(o.loss->losses_of(block.width));
  for (i64 b = first; b < plan.batch; b += every) factor[size_of(b)] /= total;
  return some;
}

// Weighs the targets, of every so many sequences from the first on
template <class T>
void weigh(Workspace<T>& w, const Objective& objective, i64 first = 0, i64 every = 1) {
  bool some = false;
  for (std::size_t k = 0; k < w.blocks.size(); ++k)
    some |= make_factors(w, objective, objective.blocks[k], w.blocks[k], first, every);
  if (!some) throw ArgumentError({"sample_weight", "holds only zeros", "at least one above 0"});
}

// Divides the buffers among the blocks, whose columns lie one after the other in them
template <class T>
void begin_losses(const Net<T>& net, Workspace<T>& w, const Objective& objective) {
  const i64 rows = objective.steps == Steps::all ? w.plan.window_rows : w.plan.lead(),
            factors = objective.weighs_steps() ? rows : w.plan.lead();
  w.blocks.resize(objective.blocks.size());
  for (std::size_t k = 0; k < w.blocks.size(); ++k) {
    const OutputBlock& o = objective.blocks[k];
    BlockBuffers<T>& block = w.blocks[k];
    block.first = o.first;
    block.width = o.width ? o.width : net.spec.output_width();
    block.targets = w.targets + rows * block.first;
    block.classes = reinterpret_cast<std::int32_t*>(block.targets);
    block.factor = w.factor + factors * block.first;
    block.sums = w.plan.batch * block.first;
    for (int i = 0; i < LossInfo::most_parameters; ++i)
      if (const char* name = o.loss->info->parameters[i].name)
        block.parameters[i] = rounded<T>(name, o.loss->parameters[i]);
    block.list.clear();
    for (const double value : o.loss->list) block.list.push_back(rounded<T>(o.loss->info->list.name, value));
    block.exact_factor.assign(size_of(w.plan.batch), 1.0);
  }
}

template <class T>
void start_losses(const Workspace<T>& w, i64 row0, i64 row1) {
  for (const BlockBuffers<T>& block : w.blocks)
    for (i64 b = row0; b < row1 && !block.each_factor; ++b)
      std::fill_n(block.factor + b * block.width, block.width, T(block.exact_factor[size_of(b)]));
  for (const BlockBuffers<T>& block : w.blocks) {
    const i64 from = block.sums + row0 * block.width, count = (row1 - row0) * block.width;
    std::fill_n(w.loss_sum + from, count, 0.0);
    if (w.plan.windows.size() > 1) std::fill_n(w.idle_sum + from, count, 0.0);
  }
}

// Private copies of a block's y for a worker's sequences, of a window's steps or of the last steps, and of the steps'
// weights. Where the weight is 0 stands a target that any loss takes. Of every so many sequences
template <class T>
void pack_block(Workspace<T>& w, const Objective& objective, std::size_t k, bool check, i64 window, i64 row0, i64 row1,
                i64 every) {
  const BatchPlan& plan = w.plan;
  const OutputBlock& o = objective.blocks[k];
  const BlockBuffers<T>& block = w.blocks[k];
  const LossInfo& info = *o.loss->info;
  const bool all = objective.steps == Steps::all, classes = info.targets == LossInfo::Targets::classes;
  const bool each = block.each_factor;
  const double* const exact_factor = block.exact_factor.data();
  T *const targets = block.targets, *const factor = block.factor;
  const i64 width = block.width, n = classes ? width : o.loss->targets_of(width);
  const bool bounded = std::isfinite(info.range.low) || std::isfinite(info.range.high);
  const i64 t0 = all ? plan.window(window).t0 : 0, t1 = all ? plan.window(window).t1 : 1, base = plan.row(t0, 0);
  bool fine = true;
  if (lies_in_rows<T>(o.y, n, all) && !classes && !each && !bounded) {
    T seen = 0;
    for (i64 b = row0; b < row1; b += every) {
      const i64 end = all ? std::min(t1, plan.length(b)) : 1;
      const auto* from =
          reinterpret_cast<const T*>(static_cast<const std::byte*>(o.y.data) + plan.place(b) * o.y.strides[0]) +
          (all ? plan.step(t0, b) * n : 0);
      const bool counts = exact_factor[b] != 0;
      for (i64 t = t0; t < end; ++t, from += n) {
        T* target = targets + (all ? plan.row(t, b) - base : b) * n;
        for (i64 j = 0; j < n; ++j) {
          target[j] = counts ? from[j] : T(0);
          seen += target[j] * 0;
        }
      }
    }
    if (seen != 0 && check) w.found.y = true;
    return;
  }
  if (classes && !each && o.y.dtype == Dtype::i64 && (!all || o.y.strides[1] == i64(sizeof(i64)))) {
    for (i64 b = row0; b < row1; b += every) {
      const i64 end = all ? std::min(t1, plan.length(b)) : 1;
      const i64* from =
          reinterpret_cast<const i64*>(static_cast<const std::byte*>(o.y.data) + plan.place(b) * o.y.strides[0]) +
          (all ? plan.step(t0, b) : 0);
      const bool counts = exact_factor[b] != 0;
      for (i64 t = t0; t < end; ++t, ++from) {
        const i64 value = counts ? *from : 0;
        const bool known = value >= 0 && value < n;
        block.classes[all ? plan.row(t, b) - base : b] = known ? static_cast<std::int32_t>(value) : 0;
        fine &= known;
      }
    }
    if (!fine) w.found.y = true;
    return;
  }
  for (i64 t = t0; t < t1; ++t)
    for (i64 b = row0; b < (all ? std::min(row1, plan.running(t)) : row1); b += every) {
      const i64 to = all ? plan.row(t, b) - base : b, step = plan.step(t, b);
      const double weight = each ? weight_at(o, plan.place(b), step) : exact_factor[b];
      if (each) std::fill_n(factor + to * width, width, T(weight * exact_factor[b]));
      if (classes) {
        const i64 value = weight == 0 ? 0 : read<i64>(o.y, plan.place(b), all ? step : 0);
        const bool known = value >= 0 && value < n;
        block.classes[to] = known ? static_cast<std::int32_t>(value) : 0;
        fine &= known;
        continue;
      }
      T* target = targets + to * n;
      if (weight == 0) {
        std::fill_n(target, n, T(0));
        continue;
      }
      fine &= copy_numbers(kernels_for(w), o.y, plan.place(b), step, n, all ? 2 : 1, target) || !check;
      for (i64 j = 0; bounded && j < n; ++j) fine &= !info.excludes(double(target[j]));
    }
  if (!fine) w.found.y = true;
}

template <class T>
void pack_targets(Workspace<T>& w, const Objective& objective, bool check, i64 window, i64 row0, i64 row1,
                  i64 every = 1) {
  for (std::size_t k = 0; k < w.blocks.size(); ++k) pack_block(w, objective, k, check, window, row0, row1, every);
}

template <class T>
[[gnu::cold]] void report_block(const Workspace<T>& w, const Objective& objective, std::size_t k, bool check) {
  const BatchPlan& plan = w.plan;
  const OutputBlock& o = objective.blocks[k];
  const LossInfo& info = *o.loss->info;
  const std::string loss = loss_of<T>(*w.set, o.loss->index).name, name = argument_of("y", o);
  const bool all = objective.steps == Steps::all, classes = info.targets == LossInfo::Targets::classes;
  const i64 width = w.blocks[k].width, n = classes ? width : o.loss->targets_of(width);
  for (i64 i = 0; i < plan.batch; ++i) {
    const i64 b = plan.place(i), start = all ? plan.step(0, i) : 0;
    for (i64 t = start; t < start + (all ? plan.length(i) : plan.is_last(i)); ++t) {
      if (weight_at(o, b, t) == 0) continue;
      if (classes) {
        const i64 value = read<i64>(o.y, b, t);
        if (value < 0 || value >= n)
          all ? throw_unknown(name, "class", value, {b, t}, "classes", n)
              : throw_unknown(name, "class", value, {b}, "classes", n);
        continue;
      }
      for (i64 j = 0; j < n; ++j) {
        const double value = all ? read<double>(o.y, b, t, j) : read<double>(o.y, b, j);
        if (check && !std::isfinite(T(value)))
          all ? throw_not_finite(name, value, {b, t, j}) : throw_not_finite(name, value, {b, j});
        if (info.excludes(value))
          throw ArgumentError({.argument = name,
                               .problem = "holds " + number(value),
                               .expected = (info.two_values ? ends_text(info.range) : "values " + text(info.range)) +
                                           " for loss '" + loss + "'",
                               .index = all ? std::vector<i64>{b, t, j} : std::vector<i64>{b, j},
                               .value = value});
      }
    }
  }
}

// Locates an error that pack_targets found
template <class T>
[[gnu::cold]] void report_targets(const Workspace<T>& w, const Objective& objective, bool check) {
  for (std::size_t k = 0; k < w.blocks.size(); ++k) report_block(w, objective, k, check);
  throw ArgumentError({"y", "held a value that its loss forbids, and changed during the call"});
}

// A block's loss, of the rows of its own columns. loss_sum: of all blocks
template <class T>
void add_loss(const Workspace<T>& w, const OutputBlock& from, const BlockBuffers<T>& block, OutputArgs<T>& o) {
  o.loss = &loss_of<T>(*w.set, from.loss->index);
  o.parameters = block.list.empty() ? block.parameters : block.list.data();
  o.per_target = from.loss->outputs_per_target();
  o.targets = block.targets;
  o.classes = block.classes;
  o.factor = block.factor;
  o.each_factor = block.each_factor;
  o.loss_sum = w.loss_sum;
}

// .. of several blocks
template <class T>
struct BlockArgs {
  OutputArgs<T> own;
  i64 first, sums;
  T weight;
};

// Losses and dy of some rows, block by block: each loss sees its columns as if there were no others
template <class T>
void block_rows(const OutputArgs<T>& o, i64 row, i64 sequence, i64 count) {
  constexpr i64 most = 512;  // numbers, in the L1 cache
  T y[most], dy[most];
  for (int k = 0; k < o.block_count; ++k) {
    const BlockArgs<T>& block = o.blocks[k];
    const i64 n = block.own.outputs, at_once = std::max<i64>(most / n, 1);
    for (i64 i = 0; i < count; i += at_once) {
      const i64 rows = std::min(at_once, count - i), from = row + i, columns = o.outputs;
      const bool copies = n <= most;  // else a single row, whose columns lie side by side
      OutputArgs<T> own = block.own;
      T *all_y = o.y + from * columns + block.first, *all_dy = o.dy ? o.dy + from * columns + block.first : nullptr;
      own.y = copies ? y : all_y;
      own.dy = copies && all_dy ? dy : all_dy;
      own.targets += from * n / own.per_target;
      own.classes += from;
      own.factor += (own.each_factor ? from : sequence + i) * n;
      own.loss_sum = o.loss_sum + block.sums + (sequence + i) * n;
      for (i64 r = 0; copies && r < rows; ++r) std::copy_n(all_y + r * columns, n, y + r * n);
      own.loss->rows(own, 0, 0, rows);
      for (i64 r = 0; all_dy && r < rows; ++r)
        for (i64 j = 0; j < n; ++j)
          all_dy[r * columns + j] = block.weight == 0 ? T(0) : block.weight * own.dy[r * n + j];
    }
  }
}

template <class T>
inline constexpr LossKernels<T> sum_of_blocks{"a sum of losses", nullptr, &block_rows<T>};

template <class T>
std::vector<BlockArgs<T>> block_args(const Workspace<T>& w, const Objective& objective) {
  std::vector<BlockArgs<T>> all(objective.blocks.size());
  for (std::size_t k = 0; k < all.size(); ++k) {
    const BlockBuffers<T>& block = w.blocks[k];
    all[k] = {{}, block.first, block.sums, rounded<T>("weight", objective.blocks[k].weight)};
    all[k].own.outputs = block.width;
    add_loss(w, objective.blocks[k], block, all[k].own);
  }
  return all;
}

template <class T>
void add_blocks(const Workspace<T>& w, const std::vector<BlockArgs<T>>& blocks, OutputArgs<T>& o) {
  o.loss = &sum_of_blocks<T>;
  o.loss_sum = w.loss_sum;
  o.blocks = blocks.data();
  o.block_count = static_cast<int>(blocks.size());
}

// The loss of a batch, from the sums of its sequences: of every so many from the first on
template <class T>
double total_loss(const Workspace<T>& w, const Objective& objective, i64 first = 0, i64 every = 1) {
  double total = 0;
  for (std::size_t k = 0; k < w.blocks.size(); ++k) {
    const BlockBuffers<T>& block = w.blocks[k];
    double value = 0;
    for (i64 b = first; b < w.plan.batch; b += every) {
      const double factor = block.each_factor ? 1 : block.exact_factor[size_of(b)];
      for (i64 o = 0; o < block.width && factor != 0; ++o)
        value += factor * w.loss_sum[block.sums + b * block.width + o];
    }
    if (objective.losses) objective.losses[k] = value;
    if (objective.blocks[k].weight != 0) total += objective.blocks[k].weight * value;
  }
  return total;
}

}  // namespace fastbptt

#endif
