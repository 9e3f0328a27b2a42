#include "engine/workspace.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <numeric>

#include "errors.h"
#include "memory.h"

namespace fastbptt {

namespace {

constexpr i64 cache_line = 64;

void release(std::byte* block) { ::operator delete(block, std::align_val_t(cache_line)); }

}  // namespace

std::vector<i64> stretches_of(const i64* lengths, i64 n, int team) {
  const i64 rows = std::accumulate(lengths, lengths + n, i64(0)), longest = *std::max_element(lengths, lengths + n);
  const auto end = [&](i64 b, i64 most) {  // of the stretch that begins at b
    for (i64 sum = 0; b < n && (sum += lengths[b]) <= most;) ++b;
    return b;
  };
  const auto suffices = [&](i64 most) {
    i64 b = 0;
    for (int worker = 0; worker < team && b < n; ++worker) b = end(b, most);
    return b == n;
  };
  i64 least = std::max((rows + team - 1) / team, longest), most = least + longest;
  while (least < most) {
    const i64 middle = (least + most) / 2;
    suffices(middle) ? most = middle : least = middle + 1;
  }
  const auto size = static_cast<std::size_t>(team);
  std::vector<i64> bounds(size + 1, n);
  i64 from = n;
  for (std::size_t w = size; w-- > 0; bounds[w] = from)  // the first at which what is left suffices for the others
    for (i64 sum = 0; from > 0 && (sum += lengths[from - 1]) <= most;) --from;
  i64 rest = rows;
  for (std::size_t w = 0; w + 1 < size; ++w) {  // where there is a choice, nearer to equal shares of what is left
    const i64 last = end(bounds[w], most), share = rest / static_cast<i64>(size - w);
    i64 b = bounds[w], sum = 0;
    for (; b < last && (b < bounds[w + 1] || sum == 0 || sum + lengths[b] / 2 <= share); ++b) sum += lengths[b];
    bounds[w + 1] = b;
    rest -= sum;
  }
  return bounds;
}

void check_resets(bool bidirectional, Steps steps, Reduction reduction) {
  const char* without = bidirectional                           ? "none for a bidirectional network"
                        : pools(steps)                          ? "none with pooling"
                        : reduction == Reduction::sequence_mean ? "none with a mean over sequences"
                                                                : nullptr;
  if (without) throw ArgumentError({"resets", "are given", without});
}

Arena::~Arena() { release(block_); }

void* Arena::allocate_bytes(i64 a, i64 b, i64 c, std::size_t size) {
  const i64 bytes = bounded_product(bounded_product(bounded_product(a, b), c), static_cast<i64>(size));
  void* address = base_ ? base_ + used_ : nullptr;
  used_ = std::min(used_ + (bytes + cache_line - 1) / cache_line * cache_line, most_elements);
  return address;
}

// Requests above the available memory are refused here: the system would grant them and kill the process later.
void Arena::reserve(bool tight) {
  if (used_ > memory_limit()) throw std::bad_alloc();
  if (used_ > capacity_ || !block_ || (tight && used_ < capacity_)) {
    release(block_);
    block_ = nullptr;
    capacity_ = 0;
    const auto bytes = static_cast<std::size_t>(std::max(used_, cache_line));
    block_ = static_cast<std::byte*>(::operator new(bytes, std::align_val_t(cache_line)));
    capacity_ = used_;
  }
  base_ = block_;
}

void BatchPlan::make(i64 b, i64 t, const i64* given, const bool* resets, i64 rows_per_block, Grouping grouping) {
  if (!given && !resets && b == batch && t == time && !ragged && !episodes && rows_per_block == rows_per_block_ &&
      grouping == grouping_)
    return;
  if (bounded_product(std::min(b, most_elements) + std::min(t, most_elements), 6 * sizeof(i64)) > memory_limit())
    throw std::bad_alloc();
  batch = -1;  // invalid until complete
  bounds_.clear();
  block_steps_ = 0;
  callers_batch = b;
  episodes = resets;
  struct Episode {
    i64 place, start, length;
    char begins, ends;
  };
  std::vector<Episode> found;
  found.reserve(static_cast<std::size_t>(b));
  for (i64 place = 0; place < b; ++place) {
    const i64 end = given ? given[place] : t;
    const bool* reset = resets ? resets + place * t : nullptr;
    for (i64 from = 0, to = 0; from < end; from = to) {
      to = reset ? from + 1 : end;
      while (to < end && !reset[to]) ++to;
      found.push_back({place, from, to - from, from == 0 && !(reset && reset[0]), to == end});
    }
  }
  const std::size_t n = found.size();
  order.resize(n);
  std::iota(order.begin(), order.end(), i64(0));
  if (given || resets != nullptr)
    std::stable_sort(order.begin(), order.end(),
                     [&](i64 i, i64 j) { return found[std::size_t(i)].length > found[std::size_t(j)].length; });
  for (std::vector<i64>* all : {&lengths, &places, &starts, &positions}) all->resize(n);
  for (std::vector<char>* all : {&begins, &ends}) all->resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const Episode& one = found[static_cast<std::size_t>(order[i])];
    lengths[i] = one.length;
    places[i] = one.place;
    starts[i] = one.start;
    positions[i] = one.place * t + one.start;
    begins[i] = one.begins;
    ends[i] = one.ends;
  }
  steps = lengths[0];
  ragged = lengths[n - 1] < t;
  first.resize(static_cast<std::size_t>(steps) + 1);
  active.resize(static_cast<std::size_t>(steps) + 1);
  auto running_now = static_cast<i64>(n);
  i64 real = 0, grouped = 0;
  for (i64 s = 0; s <= steps; ++s) {
    while (running_now > 0 && length(running_now - 1) <= s) --running_now;
    active[static_cast<std::size_t>(s)] = running_now;
    real += running_now;
    grouped += (running_now + grouping.rows - 1) / grouping.rows * grouping.rows;
  }
  group = grouping.rows;
  const i64 sequences = active[0];
  const auto equal = static_cast<double>(whole(sequences) * steps);  // rows of equal lengths
  if (double(grouped) > grouping.most * double(real) &&
      (!grouping.pays(sequences) || double(real) * grouping.wide <= equal))
    group = 1;
  rows = 0;
  for (i64 s = 0; s <= steps; ++s) {
    first[static_cast<std::size_t>(s)] = rows;
    rows += whole(running(s));
  }
  grouping_ = grouping;
  split_blocks(group > 1 && grouping.block ? grouping.block : rows_per_block);
  rows_per_block_ = rows_per_block;
  time = t;
  batch = static_cast<i64>(n);
  split_windows(1);
}

void BatchPlan::make_sizes(i64 b, i64 t, i64 resets, i64 rows_per_block, Grouping grouping) {
  callers_batch = batch = std::min(b, most_elements);
  time = steps = std::min(t, most_elements);
  ragged = false;
  episodes = resets > 0;
  group = (episodes && grouping.most >= 1) || grouping.pays(batch) ? grouping.rows : 1;
  if (group > 1 && grouping.block) rows_per_block = grouping.block;
  rows = bounded_product(lead(), steps);
  block_steps_ = std::min(std::max<i64>(rows_per_block / lead(), 1), steps);
  block_rows = bounded_product(block_steps_, lead());
  block_count = (steps + block_steps_ - 1) / block_steps_;
  if (episodes) {
    batch = std::min(rows, batch + std::min(resets, most_elements));
    rows = std::min(bounded_product(rows, group), rows + bounded_product(steps, group - 1));
    bound_blocks(rows_per_block);
  }
  split_windows(1);
}

bool BatchPlan::make_uneven_sizes(i64 b, i64 t, i64 rows_per_block, Grouping grouping) {
  callers_batch = batch = std::min(b, most_elements);
  time = steps = std::min(t, most_elements);
  const bool groups = !grouping.pays(batch);
  ragged = episodes = false;
  group = grouping.rows;
  // where groups never pay, or of fewer sequences than a group has, all of which fill it best
  if (group == 1 || steps == 1 || (groups && (grouping.most < 1 || batch <= group))) return false;
  const auto n = static_cast<double>(steps), equal = double(lead()) * n;
  const double most = groups ? std::min(equal, grouping.most * double(batch) * n)
                             : std::min(equal / grouping.wide, double(group - 1) * n / (grouping.most - 1));
  if (most < double(batch) + n - 1) return false;  // each sequence has a step, and one has all of them
  rows = static_cast<i64>(std::min(most, double(most_elements)));
  if (!groups) group = 1;
  bound_blocks(groups && grouping.block ? grouping.block : rows_per_block);
  split_windows(1);
  return true;
}

// A block has so many rows or fewer, or one step; any two neighbours have more
void BatchPlan::bound_blocks(i64 rows_per_block) {
  block_steps_ = 1;
  block_rows = std::min(rows, std::max(rows_per_block, lead()));
  block_count = std::min(steps, rows / rows_per_block * 2 + 1);
}

void BatchPlan::divide(int team) {
  if (ragged && bounds_.size() != static_cast<std::size_t>(team) + 1)
    bounds_ = stretches_of(lengths.data(), batch, team);
}

double BatchPlan::idle(int team) const {
  i64 first = 0, most = 0;
  for (int worker = 0; worker < team; ++worker) {
    const auto [from, to] = share(worker, team);
    const i64 all = std::accumulate(lengths.begin() + from, lengths.begin() + to, i64(0));
    if (worker == 0) first = all;
    most = std::max(most, all);
  }
  return 1 - double(first) / double(most);
}

std::pair<i64, i64> BatchPlan::share(int worker, int team) const {
  const i64 groups = lead() / group;
  if (!ragged)
    return {std::min(batch, groups * worker / team * group), std::min(batch, groups * (worker + 1) / team * group)};
  const auto w = static_cast<std::size_t>(worker);
  const auto stretch = [&](const std::vector<i64>& bounds) {
    return std::pair<i64, i64>{std::min(batch, whole(bounds[w])), std::min(batch, whole(bounds[w + 1]))};
  };
  if (bounds_.size() == static_cast<std::size_t>(team) + 1) return stretch(bounds_);
  return stretch(stretches_of(lengths.data(), batch, team));  // a smaller team than was wanted
}

i64 BatchPlan::bytes() const {
  const i64 per_step = 2 * sizeof(i64) + sizeof(Run), per_sequence = 5 * sizeof(i64) + 2 * sizeof(char);
  i64 bytes = 0;
  for (const i64 part : {bounded_product(steps + 1, per_step), bounded_product(batch, per_sequence),
                         bounded_product(block_count, sizeof(Block)), bounded_product(window_count, sizeof(Window))})
    bytes = std::min(bytes + part, most_elements);
  return bytes;
}

void BatchPlan::split_blocks(i64 rows_per_block) {
  blocks.clear();
  block_rows = 0;
  // no more rows than of equal lengths, and no more blocks
  if (!episodes) rows_per_block = std::max<i64>(rows_per_block / whole(active[0]), 1) * whole(active[0]);
  for (i64 t1 = steps; t1 > 0;) {
    i64 t0 = t1 - 1;
    while (t0 > 0 && row(t1, 0) - row(t0 - 1, 0) <= rows_per_block) --t0;
    blocks.push_back({t0, t1, row(t1, 0) - row(t0, 0), 0, 0});
    block_rows = std::max(block_rows, blocks.back().rows);
    t1 = t0;
  }
  block_count = static_cast<i64>(blocks.size());
}

void BatchPlan::split_windows(i64 count) {
  ++number;
  windows.clear();
  runs.clear();
  window_rows = 0;
  const i64 n = block_count;
  window_count = count = std::min(count, n);
  if (block_steps_) {  // the first block of time may be shorter; one window alone holds it beside as many others
    window_rows = count == 1 ? rows : std::min(rows, bounded_product((n + count - 1) / count, block_rows));
    return;
  }
  for (i64 w = 0; w < count; ++w) {  // blocks go back in time, windows go forward
    const auto b0 = static_cast<std::size_t>(n - n * (w + 1) / count), b1 = static_cast<std::size_t>(n - n * w / count);
    const Window window{blocks[b1 - 1].t0, blocks[b0].t1, b0, b1};
    windows.push_back(window);
    window_rows = std::max(window_rows, row(window.t1, 0) - row(window.t0, 0));
    for (std::size_t i = b0; i < b1; ++i) {
      Block& block = blocks[i];
      block.run0 = runs.size();
      for (i64 t = block.t0; t < block.t1; ++t) {
        const i64 a = t == window.t0 ? 0 : lead() + row(t - 1, 0) - row(window.t0, 0), g = row(t, 0) - row(block.t0, 0);
        Run* last = runs.size() > block.run0 ? &runs.back() : nullptr;
        if (last && last->a + last->count == a && last->g + last->count == g)
          last->count += whole(running(t));
        else
          runs.push_back({a, g, whole(running(t))});
      }
      block.run1 = runs.size();
    }
  }
}

i64 spread_rows(i64 rows, std::size_t row_bytes) {
  constexpr std::size_t page = 4096;
  if (row_bytes >= page) return rows;
  const auto per_page = static_cast<i64>(page / row_bytes);
  const i64 offset = per_page * 3 / 8;
  return rows + (offset - rows % per_page + per_page) % per_page;
}

}  // namespace fastbptt
