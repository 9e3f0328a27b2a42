// NumPy arrays as the core's views, checked for type, shape and alignment.
#ifndef FASTBPTT_BINDINGS_ARRAYS_H
#define FASTBPTT_BINDINGS_ARRAYS_H

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>

#include "engine.h"

namespace fastbptt::bindings {

namespace py = pybind11;

// The axes that an array must have
class Shape {
 public:
  static constexpr std::size_t most = 5;
  Shape(std::initializer_list<i64> sizes) : count_(sizes.size()) { std::copy(sizes.begin(), sizes.end(), sizes_); }
  void push_back(i64 size) { sizes_[count_++] = size; }
  std::size_t size() const { return count_; }
  i64 operator[](std::size_t axis) const { return sizes_[axis]; }
  const i64* begin() const { return sizes_; }
  const i64* end() const { return sizes_ + count_; }

 private:
  i64 sizes_[most] = {};
  std::size_t count_;
};

py::array array(py::handle value, const char* name);  // throws if it is none
Dtype dtype_of(const py::array& a, const char* name);
void check_shape(const py::array& a, const char* name, const Shape& expected);

// Of up to three axes. Like the following, they borrow: the array must live as long as what they return.
Array view(py::handle a, const char* name, const Shape& expected, std::initializer_list<Dtype> allowed);
const i64* integers(py::handle a, const char* name, i64 count);            // contiguous
const bool* flags(py::handle a, const char* name, const Shape& expected);  // contiguous
const void* contiguous(py::handle a, const char* name, Dtype dtype, const Shape& expected);
void* target(py::handle a, const char* name, Dtype dtype, const Shape& expected);  // contiguous and writable

}  // namespace fastbptt::bindings

#endif
