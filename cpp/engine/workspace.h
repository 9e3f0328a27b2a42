// The batch plan, and the arena for the buffers of a pass; both are reused from step to step.
#ifndef FASTBPTT_ENGINE_WORKSPACE_H
#define FASTBPTT_ENGINE_WORKSPACE_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine.h"

namespace fastbptt {

// What sizes end at that no machine has: sums of a few of them do not overflow
constexpr i64 most_elements = i64(1) << 60;

// a b, at most most_elements
inline i64 bounded_product(i64 a, i64 b) {
  i64 out = 0;
  return __builtin_mul_overflow(a, b, &out) || out > most_elements ? most_elements : out;
}

// Throws for what could mean a row, or each episode in it
void check_resets(bool bidirectional, Steps steps, Reduction reduction);

// Cuts n sequences into a stretch for each worker: where each begins, and n. The largest sum of lengths is as small as
// stretches allow.
std::vector<i64> stretches_of(const i64* lengths, i64 n, int team);

// One block of memory from which aligned arrays are allocated, in two passes: the first measures, the second allocates.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // bytes that layout(*this) allocates, whether the machine has them or not; at most most_elements
  template <class Layout>
  i64 measure(const Layout& layout) {
    base_ = nullptr;
    used_ = 0;
    layout(*this);
    return used_;
  }

  // measures, reserves the memory and calls layout again; throws std::bad_alloc. tight: releases excess memory
  template <class Layout>
  void lay_out(const Layout& layout, bool tight = false) {
    measure(layout);
    reserve(tight);
    used_ = 0;
    layout(*this);
  }

  // a x b x c elements, aligned to a cache line, contents undefined; null while measuring
  template <class T>
  T* allocate(i64 a, i64 b = 1, i64 c = 1) {
    return static_cast<T*>(allocate_bytes(a, b, c, sizeof(T)));
  }

 private:
  void* allocate_bytes(i64 a, i64 b, i64 c, std::size_t size);
  void reserve(bool tight);
  std::byte* block_ = nullptr;
  std::byte* base_ = nullptr;
  i64 used_ = 0, capacity_ = 0;
};

// Each step has a multiple of so many rows, the last of them dead: of no sequence. Unless that makes more than `most`
// times as many rows: then there are no groups. A row without groups takes `wide` times the memory, so that lengths
// alone change to it only where they save that much
struct Grouping {
  i64 rows = 1;
  double most = 1, wide = 1;
  i64 block = 0;  // rows of a block of time in groups; 0: as many as without
  // .. of a batch of equal lengths
  bool pays(i64 batch) const {
    const i64 whole = (batch + rows - 1) / rows * rows;
    return double(whole) <= most * double(batch);
  }
  bool operator==(const Grouping&) const = default;
};

// The order of a batch's rows (see kernels/kernels.h) and how its time is split into blocks for the weight gradients.
// With resets each episode is a sequence of its own: `batch` counts episodes, and t steps within them.
class BatchPlan {
 public:
  struct Block {
    i64 t0, t1;              // steps
    i64 rows;                // rows of these steps
    std::size_t run0, run1;  // the runs of h_{t-1} against dgates
  };

  // A stretch of time whose states are in memory together: whole blocks
  struct Window {
    i64 t0, t1;                  // steps
    std::size_t block0, block1;  // its blocks, from its end to its start
  };

  // lengths null: all equal time. resets: [batch][time] or null. Does nothing if the plan is unchanged.
  void make(i64 batch, i64 time, const i64* lengths, const bool* resets, i64 rows_per_block, Grouping grouping = {});
  // The sizes alone of the plan for equal lengths, or at most those with so many resets, however large: for measuring
  void make_sizes(i64 batch, i64 time, i64 resets, i64 rows_per_block, Grouping grouping = {});
  // .. at most those of lengths that lead to the other choice, groups or none, than equal ones do; false: none do
  bool make_uneven_sizes(i64 batch, i64 time, i64 rows_per_block, Grouping grouping);
  // Splits time into count windows (at most one per block) of about equal length.
  void split_windows(i64 count);

  RowSchedule schedule() const { return {lead(), steps, first.data(), active.data()}; }
  i64 whole(i64 n) const { return (n + group - 1) / group * group; }  // n rounded up to whole groups
  i64 lead() const { return whole(batch); }                           // rows of all sequences, one for each
  i64 length(i64 sorted) const { return lengths[static_cast<std::size_t>(sorted)]; }
  // Where the caller has a sorted sequence: the row, the step that is its step t, and both in one, in a (B, T) array
  i64 place(i64 sorted) const { return places[static_cast<std::size_t>(sorted)]; }
  i64 step(i64 t, i64 sorted, bool reverse = false) const {
    return starts[static_cast<std::size_t>(sorted)] + (reverse ? length(sorted) - 1 - t : t);
  }
  i64 position(i64 sorted) const { return positions[static_cast<std::size_t>(sorted)]; }
  // The caller's own order of all sequences: by row, then by time
  i64 number_of(i64 sorted) const { return order[static_cast<std::size_t>(sorted)]; }
  // Whether it starts from the caller's state of its row; whether the row ends with it
  bool carries_on(i64 sorted) const { return begins[static_cast<std::size_t>(sorted)]; }
  bool is_last(i64 sorted) const { return ends[static_cast<std::size_t>(sorted)]; }
  i64 bytes() const;      // of the plan itself
  void divide(int team);  // once, for all workers
  // The sorted sequences of a worker: about equal sums of lengths per worker
  std::pair<i64, i64> share(int worker, int team) const;
  double idle(int team) const;  // how much less worker 0 has to do than the one that has most, as a share of that
  // The rows of steps t0 .. t1, of sequences alone: f(row, sorted sequence)
  template <class F>
  void for_rows(i64 t0, i64 t1, const F& f) const {
    for (i64 t = t0; t < t1; ++t)
      for (i64 b = 0; b < running(t); ++b) f(row(t, b), b);
  }
  i64 row(i64 t, i64 sorted) const { return first[static_cast<std::size_t>(t)] + sorted; }
  i64 running(i64 t) const { return active[static_cast<std::size_t>(t)]; }
  const Window& window(i64 i) const { return windows[static_cast<std::size_t>(i)]; }

  std::uint64_t number = 0;  // changes with the plan
  i64 batch = -1, time = -1;
  i64 callers_batch = -1;                               // rows of the caller's arrays: batch, or fewer with resets
  bool episodes = false;                                // there are resets
  i64 steps = 0;                                        // the longest length
  i64 rows = 0;                                         // sum of lengths, with the dead rows
  i64 group = 1;                                        // rows of a group
  bool ragged = false;                                  // some sequences are shorter than time
  std::vector<i64> order;                               // [B] place of each sorted sequence before sorting
  std::vector<i64> lengths, places, starts, positions;  // [B] in sorted order
  std::vector<char> begins, ends;                       // [B] in sorted order
  std::vector<i64> first, active;
  std::vector<Block> blocks;  // from the end of time to its start
  std::vector<Run> runs;
  std::vector<Window> windows;  // from the start of time to its end
  i64 block_count = 0, window_count = 0;
  i64 block_rows = 0;   // most rows of a block
  i64 window_rows = 0;  // most rows of a window

 private:
  void split_blocks(i64 rows_per_block);
  void bound_blocks(i64 rows_per_block);
  std::vector<i64> bounds_;  // of the team that the plan was divided for, if it is ragged
  i64 rows_per_block_ = 0;
  Grouping grouping_;
  i64 block_steps_ = 0;  // of a plan of sizes alone; else 0
};

// Rows per panel that keep the panels of a tile in different cache sets
i64 spread_rows(i64 rows, std::size_t row_bytes);

}  // namespace fastbptt

#endif
