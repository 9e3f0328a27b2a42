// Batches out of sequences that lie anywhere in memory. It needs no Python.
#ifndef FASTBPTT_GATHER_H
#define FASTBPTT_GATHER_H

#include <cstddef>
#include <vector>

#include "kernels/kernels.h"

namespace fastbptt {

// StridedSequences of elements of one size, each of its own number of steps, with the same number of columns in every
// step. The memory is borrowed for the life of this object; strides in bytes, of any sign, nothing need be aligned.
class StridedSequences {
 public:
  StridedSequences(i64 itemsize, i64 columns) : itemsize_(itemsize), columns_(columns) {}

  void add(const void* data, i64 steps, i64 step_stride, i64 column_stride) {
    all_.push_back({static_cast<const std::byte*>(data), steps, step_stride, column_stride});
  }

  i64 count() const { return static_cast<i64>(all_.size()); }
  i64 columns() const { return columns_; }

  // Copies n sequences into out, (n, time, columns) without gaps, zeros after each one's end. Throws
  // std::invalid_argument, before anything is written, for a row that is not there or has more steps than time.
  void gather(const i64* rows, i64 n, i64 time, void* out) const;

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
