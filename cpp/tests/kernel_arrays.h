// Arrays for the tests of kernels: NaN around what they may read, marks around what they may write.
#ifndef FASTBPTT_TESTS_KERNEL_ARRAYS_H
#define FASTBPTT_TESTS_KERNEL_ARRAYS_H

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.h"

namespace kernel_arrays {

using namespace fastbptt;

// n values inside a larger block of a mark, off elements from an aligned address
template <class T>
class Fenced {
 public:
  Fenced(i64 n, i64 off, T mark) : n_(n), off_(off), mark_(mark), block_(std::size_t(n + 2 * fence), mark) {}
  T* data() { return block_.data() + fence + off_ - 16; }
  T& operator[](i64 i) { return data()[i]; }
  bool fences_stand() {
    for (T* p = block_.data(); p != block_.data() + block_.size(); ++p)
      if ((p < data() || p >= data() + n_) && std::memcmp(p, &mark_, sizeof(T)) != 0) return false;
    return true;
  }

 private:
  static constexpr i64 fence = 64;
  i64 n_, off_;
  T mark_;
  std::vector<T> block_;
};

// Rows in panels as kernels/kernels.h has them: zero from the last real column up to a whole vector, NaN beyond
template <class T>
class Panels {
 public:
  Panels(const Kernels<T>& k, i64 rows, i64 columns, i64 panel, i64 off)
      : k_(k), columns_(columns), panel_(panel), values_((columns + k.panel - 1) / k.panel * panel, off, T(NAN)) {
    for (i64 r = 0; r < rows; ++r)
      for (i64 j = 0; j < whole(); ++j) (*this)(r, j) = 0;
  }
  T& operator()(i64 row, i64 column) { return values_[place(row, column)]; }
  T* data() { return values_.data(); }
  i64 panel() const { return panel_; }
  bool fences_stand() { return values_.fences_stand(); }

 private:
  i64 whole() const { return (columns_ + k_.vector - 1) / k_.vector * k_.vector; }
  i64 place(i64 row, i64 column) const { return column / k_.panel * panel_ + row * k_.panel + column % k_.panel; }
  const Kernels<T>& k_;
  i64 columns_, panel_;
  Fenced<T> values_;
};

template <class F>
void for_sets(const F& f) {
  for (const Backend& b : backends())
    if (b.usable) f(*b.set, std::string(b.name));
}

// Every length from 0 to two of the widest vectors and one, at several alignments
template <class T, class F>
void for_lengths(const F& f) {
  for_sets([&](const InstructionSet& set, const std::string& name) {
    const i64 vector = 64 / i64(sizeof(T));
    for (i64 n = 0; n <= 2 * vector + 1; ++n)
      for (const i64 off : {0, 1, 2, 3}) f(kernels_of<T>(set), n, off, name + " n " + std::to_string(n));
  });
}

// The instruction set that kernels belong to
template <class T>
const InstructionSet& set_of(const Kernels<T>& k) {
  for (const Backend& b : backends())
    if (b.usable && &kernels_of<T>(*b.set) == &k) return *b.set;
  throw std::logic_error("kernels of no instruction set");
}

template <class T>
T value(i64 i) {
  return T(std::sin(double(3 * i + 1)));
}

// To so many units in the last place of 1, or of the number itself
template <class T>
bool close_to(T got, double expected, double units) {
  return std::fabs(double(got) - expected) <=
         units * double(std::numeric_limits<T>::epsilon()) * std::max(1.0, std::fabs(expected));
}

}  // namespace kernel_arrays

#endif
