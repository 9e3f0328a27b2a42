#include "gather.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "errors.h"
#include "thread_pool.h"

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
  const i64 step = columns_ * itemsize_, bytes = time * step;
  constexpr i64 least = i64(1) << 17;  // bytes for each thread: below this another one costs more than it gains
  const i64 most = std::min(n, n * bytes / least);
  run_team(static_cast<int>(std::clamp<i64>(most, 1, threads_of_call())), [&](int worker, int team, Barrier&) {
    for (i64 i = n * worker / team; i < n * (worker + 1) / team; ++i) {
      const Sequence& from = all_[static_cast<std::size_t>(mine[static_cast<std::size_t>(i)])];
      auto* to = static_cast<std::byte*>(out) + i * bytes;
      copy(from, to);
      std::memset(to + from.steps * step, 0, static_cast<std::size_t>((time - from.steps) * step));
    }
  });
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

bool StridedSequences::lie_evenly(const i64* rows, i64 n, i64 time, const void*& data, i64 (&strides)[3]) const {
  const Sequence* first = nullptr;
  for (i64 i = 0; i < n; ++i) {
    if (rows[i] < 0 || rows[i] >= count()) return false;
    const Sequence& one = all_[static_cast<std::size_t>(rows[i])];
    if (i == 0) {
      first = &one;
      strides[1] = one.step_stride;
      strides[2] = one.column_stride;
      data = one.data;
      strides[0] =
          n > 1 && rows[1] >= 0 && rows[1] < count() ? all_[static_cast<std::size_t>(rows[1])].data - one.data : 0;
    }
    const bool aligned = reinterpret_cast<std::uintptr_t>(one.data) % static_cast<std::uintptr_t>(itemsize_) == 0;
    if (one.steps != time || !aligned || one.step_stride != strides[1] || one.column_stride != strides[2] ||
        one.data - first->data != i * strides[0])
      return false;
  }
  return n > 0 && strides[1] % itemsize_ == 0 && strides[2] % itemsize_ == 0;
}

}  // namespace fastbptt
