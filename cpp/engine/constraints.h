// What the parameters must satisfy: entries that are zero, signs, and norms of columns; and the terms beside the loss.
#ifndef FASTBPTT_ENGINE_CONSTRAINTS_H
#define FASTBPTT_ENGINE_CONSTRAINTS_H

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "engine.h"
#include "engine/layer_directions.h"
#include "engine/topology.h"
#include "thread_pool.h"

namespace fastbptt {

// Signs first, norms after them: the nearest parameters that satisfy both, since a column that is scaled keeps its
// signs
template <class T>
class ParameterConstraints {
 public:
  void set(ConstraintSpec given) {
    given_ = std::move(given);
    signed_.clear();
    low_.clear();
    high_.clear();
    for (const ConstraintSpec::Sign sign : given_.signs) {
      constexpr T infinite = std::numeric_limits<T>::infinity();
      low_.push_back(sign & ConstraintSpec::negative ? -infinite : T(0));
      high_.push_back(sign & ConstraintSpec::positive ? infinite : T(0));
    }
    const auto count = static_cast<i64>(given_.signs.size());
    for (i64 i = 0; i < count; ++i) {
      if (given_.signs[size_of(i)] == ConstraintSpec::any) continue;
      if (signed_.empty() || signed_.back().to + near < i) signed_.push_back({i, i});
      signed_.back().to = i + 1;
    }
    columns_.clear();
    for (const ConstraintSpec::Norm& norm : given_.norms)
      for (i64 column = 0; column < norm.columns; column += block)
        columns_.push_back({norm.from + column, std::min(block, norm.columns - column), &norm});
  }

  bool none() const { return signed_.empty() && columns_.empty(); }

  // Of the elements in r, after an update. Slots: the optimiser's; odd: bits of those that change sign with the
  // gradient
  void project_signs(const Range& r, T* params, T* const* slots, int odd) const {
    project_signs(r, params, slots, odd, given_.reflect);
  }
  void project_signs(const Range& r, T* params, T* const* slots, int odd, bool reflects) const {
    for (auto part = first_of(r); part != signed_.end() && part->from < r.to; ++part) {
      const Range some{std::max(part->from, r.from), std::min(part->to, r.to)};
      reflects ? reflect(some, params, slots, odd) : clip(some, params);
      clear_slots(some, slots);
    }
  }

  // Scales the columns whose norm is too large. skip(i): whether the parameter that element i is of stays as it is
  template <class F>
  void limit_norms(T* params, const F& skip) const {
    for_columns([&](const ColumnBlock& c) {
      if (skip(c.norm->from)) return;
      double squares[block];
      sum_squares(c, params, squares);
      T factors[block];
      bool scales = false;
      for (i64 j = 0; j < c.count; ++j) {
        const double norm = std::sqrt(squares[j]);
        factors[j] = norm > c.norm->most ? T(c.norm->most / norm) : T(1);
        scales = scales || factors[j] != T(1);
      }
      if (!scales) return;
      for (i64 i = 0; i < c.norm->rows; ++i)
        for (i64 j = 0; j < c.count; ++j) params[c.first + i * c.norm->columns + j] *= factors[j];
    });
  }

  // Entries that are zero have no gradient.
  void clear(T* gradient) const {
    for (const Range& r : signed_) clear_zeros(r, gradient);
  }

  // The first element with a sign that it must not have; -1: none
  i64 wrong_sign(const T* params) const {
    for (const Range& r : signed_) {
      if (all_right(r, params)) continue;
      for (i64 i = r.from; i < r.to; ++i)
        if (is_wrong(given_.signs[size_of(i)], params[i])) return i;
    }
    return -1;
  }

  struct Longest {
    i64 column = -1;  // its first element; -1: none is too long
    double norm = 0, most = 0;
  };
  Longest wrong_norm(const T* params) const {
    constexpr double tolerance = 1 + 16 * double(std::numeric_limits<T>::epsilon());
    for (const ColumnBlock& c : columns_) {
      double squares[block];
      sum_squares(c, params, squares);
      for (i64 j = 0; j < c.count; ++j)
        if (const double norm = std::sqrt(squares[j]); norm > c.norm->most * tolerance)
          return {c.first + j, norm, c.norm->most};
    }
    return {};
  }

  ConstraintSpec::Sign sign(i64 element) const { return given_.signs[size_of(element)]; }

 private:
  static constexpr i64 block = 16, near = 64;
  // Some columns of a matrix, side by side
  struct ColumnBlock {
    i64 first, count;
    const ConstraintSpec::Norm* norm;
  };

  std::vector<Range>::const_iterator first_of(const Range& r) const {
    return std::partition_point(signed_.begin(), signed_.end(), [&](const Range& p) { return p.to <= r.from; });
  }

  static int is_wrong(ConstraintSpec::Sign sign, T value) {
    return (!(sign & ConstraintSpec::positive) & (value > T(0))) |
           (!(sign & ConstraintSpec::negative) & (value < T(0)));
  }

  void clip(const Range& r, T* params) const {
    const T *low = low_.data(), *high = high_.data();
    for_vectors(
        r, [&](i64 i) { put(params + i, limited(at(params + i), at(low + i), at(high + i))); },
        [&](i64 i) { params[i] = limited(params[i], low[i], high[i]); });
  }

  // As if |W| were the weight and W the parameter: the rule is odd in parameter, gradient and odd slots together, so
  // that a parameter that goes through zero is, seen from |W|, reflected with its odd slots.
  [[gnu::cold]] void reflect(const Range& r, T* params, T* const* slots, int odd) const {
    const T *low = low_.data(), *high = high_.data();
    const auto turn = [&](T* values, const T* weights) {
      for_vectors(
          r, [&](i64 i) { put(values + i, turned(at(values + i), at(weights + i), at(low + i), at(high + i))); },
          [&](i64 i) { values[i] = turned(values[i], weights[i], low[i], high[i]); });
    };
    for (int s = 0; slots && s < OptimizerInfo::most_slots; ++s)
      if (slots[s] && odd >> s & 1) turn(slots[s], params);
    turn(params, params);
    clear_zeros(r, params);
  }

  // The gradient of an entry that is zero is zero, but an optimiser may come with moments of another model.
  void clear_slots(const Range& r, T* const* slots) const {
    for (int s = 0; slots && s < OptimizerInfo::most_slots; ++s)
      if (slots[s]) clear_zeros(r, slots[s]);
  }

  // Vectors of the compiler, because these passes over all parameters are not in the kernels of an instruction set
  using Vector [[gnu::vector_size(16)]] = T;
  static constexpr i64 lanes = 16 / sizeof(T);
  static Vector at(const T* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
  static void put(T* to, const Vector& v) { std::memcpy(to, &v, sizeof v); }

  template <class F, class G>
  static void for_vectors(const Range& r, const F& vector, const G& one) {
    i64 i = r.from;
    for (; i + lanes <= r.to; i += lanes) vector(i);
    for (; i < r.to; ++i) one(i);
  }

  template <class V>
  static V limited(V value, V low, V high) {
    value = value < low ? low : value;
    return value > high ? high : value;
  }

  // With the other sign where a weight has one that it must not have
  template <class V>
  static V turned(V value, V weight, V low, V high) {
    value = weight < low ? -value : value;
    return weight > high ? -value : value;
  }

  // Where neither sign is allowed
  void clear_zeros(const Range& r, T* values) const {
    const T *low = low_.data(), *high = high_.data();
    for_vectors(
        r, [&](i64 i) { put(values + i, at(low + i) == at(high + i) ? Vector{} : at(values + i)); },
        [&](i64 i) { values[i] = low[i] == high[i] ? T(0) : values[i]; });
  }

  bool all_right(const Range& r, const T* params) const {
    const T *low = low_.data(), *high = high_.data();
    decltype(Vector{} < Vector{}) wrong{};
    bool rest = false;
    for_vectors(
        r, [&](i64 i) { wrong |= (at(params + i) < at(low + i)) | (at(params + i) > at(high + i)); },
        [&](i64 i) { rest = rest || params[i] < low[i] || params[i] > high[i]; });
    for (i64 k = 0; k < lanes; ++k) rest = rest || wrong[k];
    return !rest;
  }

  static void sum_squares(const ColumnBlock& c, const T* params, double* sums) {
    std::fill_n(sums, block, 0.0);
    const T* row = params + c.first;
    for (i64 i = 0; i < c.norm->rows; ++i, row += c.norm->columns)
      for (i64 j = 0; j < c.count; ++j) sums[j] += double(row[j]) * double(row[j]);
  }

  template <class F>
  void for_columns(const F& f) const {
    if (columns_.empty()) return;
    run_team(columns_.size() > 64 ? threads_of_call() : 1, [&](int worker, int team, Barrier&) {
      const auto [from, to] = share(static_cast<i64>(columns_.size()), worker, team);
      for (i64 i = from; i < to; ++i) f(columns_[size_of(i)]);
    });
  }

  ConstraintSpec given_;
  std::vector<Range> signed_;  // where signs are not arbitrary; in between may be some that are
  std::vector<T> low_, high_;  // bounds of each parameter, for whole vectors
  std::vector<ColumnBlock> columns_;
};

// Penalties on parameters: their values, and their gradients
template <class T>
class PenaltyTerms {
 public:
  PenaltyTerms() = default;
  PenaltyTerms(const Objective& objective, bool used)
      : penalties_(&objective.penalties), values_(objective.penalty_values) {
    i64 count = 0;
    for (const Penalty& p : *penalties_) count += p.to - p.from;
    if (used) kept_.resize(size_of(count));
  }

  // While the parameters do not change
  void keep(const T* params) {
    T* to = kept_.data();
    for (const Penalty& p : *penalties_) to = std::copy(params + p.from, params + p.to, to);
  }

  // value = strength * sum |w|^power. The derivative of |w| is 0 at 0.
  void add_to(T* gradient) const {
    const T* w = kept_.data();
    for (std::size_t k = 0; k < penalties_->size(); ++k) {
      const Penalty& p = (*penalties_)[k];
      const T strength = T(p.strength), twice = T(2 * p.strength);
      T* g = gradient + p.from;
      double sum = 0;
      for (i64 i = 0; i < p.to - p.from; ++i) {
        const double value = double(w[i]);
        sum += p.power == 1 ? std::abs(value) : value * value;
      }
      if (p.power == 1)
        for (i64 i = 0; i < p.to - p.from; ++i) g[i] += w[i] > T(0) ? strength : w[i] < T(0) ? -strength : T(0);
      else
        for (i64 i = 0; i < p.to - p.from; ++i) g[i] += twice * w[i];
      values_[k] = p.strength * sum;
      w += p.to - p.from;
    }
  }

 private:
  const std::vector<Penalty>* penalties_ = nullptr;
  double* values_ = nullptr;
  std::vector<T> kept_;
};

}  // namespace fastbptt

#endif
