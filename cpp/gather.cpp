#include "gather.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "errors.h"

namespace fastbptt {

namespace {

// Copies element by element; U has the size of an element
template <class U>
void copy_elements(const std::byte* from, i64 steps, i64 columns, i64 step_stride, i64 column_stride, std::byte* to) {
  for (i64 t = 0; t < steps; ++t)
    for (i64 c = 0; c < columns; ++c, to += sizeof(U))
      std::memcpy(to, from + t * step_stride + c * column_stride, sizeof(U));
}

}  // namespace

void StridedSequences::gather(const i64* rows, i64 n, i64 time, void* out) const {
  const std::vector<i64> mine(rows, rows + n);  // a copy: another thread may write to rows after the check
  for (const i64 row : mine) {
    if (row < 0 || row >= count())
      throw ArgumentError({"rows", "holds " + std::to_string(row), "0 to " + std::to_string(count() - 1)});
    const i64 steps = all_[static_cast<std::size_t>(row)].steps;
    if (steps > time)
      throw ArgumentError({"sequence " + std::to_string(row), "has " + std::to_string(steps) + " steps",
                           "at most " + std::to_string(time)});
  }
  auto* to = static_cast<std::byte*>(out);
  const i64 step = columns_ * itemsize_;
  for (i64 i = 0; i < n; ++i, to += time * step) {
    const Sequence& from = all_[static_cast<std::size_t>(mine[static_cast<std::size_t>(i)])];
    copy(from, to);
    if (from.steps < time) std::memset(to + from.steps * step, 0, static_cast<std::size_t>((time - from.steps) * step));
  }
}

void StridedSequences::copy(const Sequence& from, std::byte* to) const {
  const i64 step = columns_ * itemsize_;
  if (from.steps * columns_ == 0) return;
  if (columns_ == 1 || from.column_stride == itemsize_) {
    if (from.steps == 1 || from.step_stride == step) {
      std::memcpy(to, from.data, static_cast<std::size_t>(from.steps * step));
      return;
    }
    if (columns_ > 1) {
      for (i64 t = 0; t < from.steps; ++t)
        std::memcpy(to + t * step, from.data + t * from.step_stride, static_cast<std::size_t>(step));
      return;
    }
  }
  const auto elements = [&](auto element) {
    copy_elements<decltype(element)>(from.data, from.steps, columns_, from.step_stride, from.column_stride, to);
  };
  switch (itemsize_) {
    case 1:
      return elements(std::uint8_t{});
    case 2:
      return elements(std::uint16_t{});
    case 4:
      return elements(std::uint32_t{});
    case 8:
      return elements(std::uint64_t{});
    default:
      break;
  }
  for (i64 t = 0; t < from.steps; ++t)
    for (i64 c = 0; c < columns_; ++c, to += itemsize_)
      std::memcpy(to, from.data + t * from.step_stride + c * from.column_stride, static_cast<std::size_t>(itemsize_));
}

}  // namespace fastbptt
