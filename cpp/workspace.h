// Everything that one pass over a batch needs: the plan of its rows and the buffers, reused from step to step.
#ifndef FASTBPTT_WORKSPACE_H
#define FASTBPTT_WORKSPACE_H

#include <cstddef>
#include <memory>
#include <vector>

#include "engine.h"

namespace fastbptt {

// One block of memory, cut into aligned pieces. Lay the pieces out twice: first to measure, then for real.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // bytes that cut(*this) takes
  template <class Cut>
  std::size_t measure(const Cut& cut) {
    base_ = nullptr;
    used_ = 0;
    cut(*this);
    return used_;
  }

  // measures, makes the room, and calls cut again; throws std::bad_alloc
  template <class Cut>
  void lay_out(const Cut& cut) {
    measure(cut);
    reserve();
    used_ = 0;
    cut(*this);
  }

  // a x b x c elements, aligned to a cache line, contents undefined; null while measuring
  template <class T>
  T* take(i64 a, i64 b = 1, i64 c = 1) {
    return static_cast<T*>(take_bytes(a, b, c, sizeof(T)));
  }

 private:
  void* take_bytes(i64 a, i64 b, i64 c, std::size_t size);
  void reserve();
  std::byte* block_ = nullptr;
  std::byte* base_ = nullptr;
  std::size_t used_ = 0, capacity_ = 0;
};

// The order of a batch's rows (see kernels.h) and how its time is cut into blocks for the weight gradients.
class Plan {
 public:
  struct Block {
    i64 t0, t1;              // steps
    i64 rows;                // rows of these steps
    std::size_t run0, run1;  // the runs of h_{t-1} against dgates
  };

  // lengths null: all are time. Does nothing if the plan is already this one.
  void make(i64 batch, i64 time, const i64* lengths);

  Schedule schedule() const { return {batch, steps, first.data(), active.data()}; }
  i64 length(i64 sorted) const { return lengths[static_cast<std::size_t>(sorted)]; }
  i64 place(i64 sorted) const { return order[static_cast<std::size_t>(sorted)]; }
  std::size_t bytes() const;  // of the plan itself
  i64 row(i64 t, i64 sorted) const { return first[static_cast<std::size_t>(t)] + sorted; }

  i64 batch = -1, time = -1;
  i64 steps = 0;             // the longest length
  i64 rows = 0;              // sum of lengths
  bool ragged = false;       // some sequence ends before the time axis does
  std::vector<i64> order;    // [B] place in the user's batch of each sorted sequence
  std::vector<i64> lengths;  // [B] in sorted order
  std::vector<i64> first, active;
  std::vector<Block> blocks;  // from the end of time to its start
  std::vector<Run> runs;
  i64 block_rows = 0;  // most rows a block needs, the step after it included

 private:
  void cut_blocks(i64 sequences);
};

// Rows per panel so that the panels of a tile do not fight over the same cache sets
i64 spread_rows(i64 rows, std::size_t row_bytes);

}  // namespace fastbptt

#endif
