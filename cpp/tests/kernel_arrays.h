// Arrays for the tests of kernels: NaN around what they may read, marks around what they may write, or pages that may
// be neither read nor written.
#ifndef FASTBPTT_TESTS_KERNEL_ARRAYS_H
#define FASTBPTT_TESTS_KERNEL_ARRAYS_H

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "guards/guards.h"

namespace kernel_arrays {

template <class T>
bool same_bytes(const T* a, const T* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(T)) == 0;
}

using namespace fastbptt;

// Whole pages between two that nobody may touch. To map memory takes longer than most tests: it is used again
class Pages {
 public:
  explicit Pages(std::size_t bytes) : count_(bytes / guards::page_size() + 1) {
    std::vector<char*>& free = unused()[count_];
    if (free.empty()) free.push_back(guards::between_guards(count_));
    begin_ = free.back();
    free.pop_back();
  }
  ~Pages() {
    if (begin_) unused()[count_].push_back(begin_);
  }
  Pages(Pages&& other) noexcept : count_(other.count_), begin_(std::exchange(other.begin_, nullptr)) {}
  Pages& operator=(Pages&&) = delete;
  char* begin() { return begin_; }
  char* end() { return begin_ + count_ * guards::page_size(); }

 private:
  static std::map<std::size_t, std::vector<char*>>& unused() {
    static std::map<std::size_t, std::vector<char*>> by_count;
    return by_count;
  }
  std::size_t count_;
  char* begin_;
};

// Where arrays stand: within marks, or with their end or their start at a page that nobody may touch
enum class Place { within, ends, starts };
constexpr Place all_places[] = {Place::within, Place::ends, Place::starts};
inline Place place = Place::within;

// n values with marks around them; within those, off elements from an aligned address
template <class T>
class Fenced {
 public:
  Fenced(i64 n, i64 off, T mark) : n_(n), mark_(mark), pages_(std::size_t(n + 2 * fence) * sizeof(T)) {
    T* const begin = reinterpret_cast<T*>(pages_.begin());
    T* const end = reinterpret_cast<T*>(pages_.end());
    data_ = place == Place::ends ? end - n : place == Place::starts ? begin : begin + fence - 16 + off;
    low_ = std::max(begin, data_ - fence);
    high_ = std::min(end, data_ + n + fence);
    std::fill(low_, high_, mark);
  }
  T* data() { return data_; }
  T& operator[](i64 i) { return data_[i]; }
  bool fences_stand() {
    for (T* p = low_; p != high_; ++p)
      if ((p < data_ || p >= data_ + n_) && std::memcmp(p, &mark_, sizeof(T)) != 0) return false;
    return true;
  }

 private:
  static constexpr i64 fence = 64;
  i64 n_;
  T mark_;
  Pages pages_;
  T *data_, *low_, *high_;
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

// With arrays in each place
template <class F>
void for_places(const F& f) {
  for (const Place one : all_places) {
    place = one;
    for_sets([&](const InstructionSet& set, const std::string& name) {
      f(set, name + (one == Place::within ? "" : one == Place::ends ? " before a page" : " after a page"));
    });
  }
  place = Place::within;
}

// Every length from 0 to two of the widest vectors and one, at several alignments
template <class T, class F>
void for_lengths(const F& f) {
  for_places([&](const InstructionSet& set, const std::string& name) {
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
