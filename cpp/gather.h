// Mini-batches from sequences anywhere in memory. Needs no Python.
#ifndef FASTBPTT_GATHER_H
#define FASTBPTT_GATHER_H

#include <cstddef>
#include <vector>

#include "kernels/kernels.h"

namespace fastbptt {

// Sequences of any lengths, with the same number of columns in every step and elements of one size. The memory is
// borrowed for the lifetime of this object. Strides are in bytes, of any sign; no alignment is required.
class StridedSequences {
 public:
  StridedSequences(i64 itemsize, i64 columns) : itemsize_(itemsize), columns_(columns) {}

  void add(const void* data, i64 steps, i64 step_stride, i64 column_stride) {
    all_.push_back({static_cast<const std::byte*>(data), steps, step_stride, column_stride});
  }

  i64 count() const { return static_cast<i64>(all_.size()); }
  i64 columns() const { return columns_; }
  i64 steps(i64 row) const { return all_[static_cast<std::size_t>(row)].steps; }

  // Copies n sequences into out, contiguous (n, time, columns), with zeros after each sequence's end. Throws
  // std::invalid_argument, before writing anything, for a row that does not exist or has more steps than time.
  void gather(const i64* rows, i64 n, i64 time, void* out) const;

  // Whether n sequences of so many steps lie at equal distances, so that they need not be copied: then where the first
  // one is, and the strides from sequence to sequence, from step to step and from column to column
  bool lie_evenly(const i64* rows, i64 n, i64 time, const void*& data, i64 (&strides)[3]) const;

 private:
  struct Sequence {
    const std::byte* data;
    i64 steps, step_stride, column_stride;
  };
  void copy(const Sequence& from, std::byte* to) const;

  i64 itemsize_, columns_;
  std::vector<Sequence> all_;
};

}  // namespace fastbptt
#endif
