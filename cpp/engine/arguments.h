// Reads the caller's arrays of any strides and types, and reports errors in them.
#ifndef FASTBPTT_ENGINE_ARGUMENTS_H
#define FASTBPTT_ENGINE_ARGUMENTS_H

#include <atomic>
#include <cmath>
#include <limits>
#include <cstddef>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "engine.h"
#include "errors.h"

namespace fastbptt {

template <class T>
T read(const Array& a, i64 i, i64 j = 0, i64 k = 0) {
  const auto* p = static_cast<const std::byte*>(a.data) + i * a.strides[0] + j * a.strides[1] + k * a.strides[2];
  switch (a.dtype) {
    case Dtype::f32:
      return static_cast<T>(*reinterpret_cast<const float*>(p));
    case Dtype::f64:
      return static_cast<T>(*reinterpret_cast<const double*>(p));
    case Dtype::i64:
      break;
  }
  return static_cast<T>(*reinterpret_cast<const i64*>(p));
}

// The array without its first axis
inline Array part_of(const Array& a, i64 i) {
  Array part = a;
  part.data = static_cast<const std::byte*>(a.data) + i * a.strides[0];
  for (int axis = 0; axis < 2; ++axis) {
    part.shape[axis] = a.shape[axis + 1];
    part.strides[axis] = a.strides[axis + 1];
  }
  part.shape[2] = part.strides[2] = 0;
  return part;
}

// Some of the sequences of a batch that is not packed
inline Batch sequences_of(const Batch& batch, i64 from, i64 to) {
  Batch part = batch;
  const auto narrow = [&](Array& a, int axis) {
    if (!a) return;
    a.data = static_cast<const std::byte*>(a.data) + from * a.strides[axis];
    a.shape[axis] = to - from;
  };
  narrow(part.x, 0);
  for (Array& initial : part.initial) narrow(initial, 1);
  narrow(part.static_inputs, 0);
  if (batch.lengths) part.lengths += from;
  if (batch.resets != nullptr) part.resets += from * batch.x.shape[1];
  return part;
}

// n numbers of the last axis of an (n), (.., n) or (.., .., n) array into T; false if one is not finite in T
template <class T>
bool copy_numbers(const Kernels<T>& k, const Array& a, i64 i, i64 j, i64 n, int axis, T* out) {
  const auto* p =
      static_cast<const std::byte*>(a.data) + (axis > 0 ? i * a.strides[0] : 0) + (axis > 1 ? j * a.strides[1] : 0);
  if (a.dtype == Dtype::f32)
    return k.copy_f32(reinterpret_cast<const float*>(p), a.strides[axis] / i64(sizeof(float)), n, out);
  return k.copy_f64(reinterpret_cast<const double*>(p), a.strides[axis] / i64(sizeof(double)), n, out);
}

// Whether the rows of n numbers of a (.., .., n) array (or, without steps, of an (.., n) one) are contiguous and of T,
// each step's behind that of the step before
template <class T>
bool lies_in_rows(const Array& a, i64 n, bool steps = true) {
  const int axis = steps ? 2 : 1;
  return a.dtype == (sizeof(T) == sizeof(float) ? Dtype::f32 : Dtype::f64) &&
         (n == 1 || a.strides[axis] == i64(sizeof(T))) && (!steps || a.strides[1] == n * i64(sizeof(T)));
}

inline std::string number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// The two ends of an interval, as the values of labels
inline std::string ends_text(const Interval& r) {
  return number(r.low) + " or " + number(r.high) +
         (r.low == -1 && r.high == 1 ? " (of 0 and 1: numpy.where(y, 1, -1))" : "");
}

inline std::string text(const Interval& r) {
  if (!std::isfinite(r.high)) return r.open ? "above " + number(r.low) : "from " + number(r.low) + " up";
  return r.open ? "above " + number(r.low) + " and below " + number(r.high)
                : "from " + number(r.low) + " to " + number(r.high);
}

[[noreturn]] inline void throw_not_finite(const std::string& name, double value, std::vector<i64> index) {
  throw ArgumentError({.argument = name,
                       .problem = "holds a value that is not finite (" + number(value) + ")",
                       .index = std::move(index),
                       .value = value});
}

// A setting in the numbers of the network: float32 may have none for it, and subnormal ones are computed as 0
template <class T>
T rounded(const std::string& name, double value) {
  using Limits = std::numeric_limits<T>;
  if (value != 0 && std::isfinite(value) && (std::abs(value) < Limits::min() || std::abs(value) > Limits::max()))
    throw ArgumentError({.argument = name,
                         .problem = "is " + number(value),
                         .expected = number(Limits::min()) + " to " + number(Limits::max()) + " for a model of float" +
                                     std::to_string(8 * sizeof(T)),
                         .value = value});
  return T(value);
}

// An integer outside 0 to count - 1
[[noreturn]] inline void throw_unknown(const std::string& name, const std::string& what, i64 value,
                                       std::initializer_list<i64> index, const std::string& all, i64 count) {
  throw ArgumentError({.argument = name,
                       .problem = "holds " + what + " " + std::to_string(value),
                       .expected = all + " 0 to " + std::to_string(count - 1),
                       .index = index,
                       .value = value});
}

// Errors found by the workers of a team, which continue; the caller checks at the end.
struct Findings {
  std::atomic<bool> x{false}, initial{false}, static_inputs{false}, weights{false}, y{false};
  void clear() { x = initial = static_inputs = weights = y = false; }
  void add(const Findings& others) {
    for (const auto one : {&Findings::x, &Findings::initial, &Findings::static_inputs, &Findings::weights})
      if (others.*one) this->*one = true;
  }
};

}  // namespace fastbptt

#endif
