// The optimiser step: check, clip and update the trained parameters.
#ifndef FASTBPTT_ENGINE_OPTIMIZER_STEP_H
#define FASTBPTT_ENGINE_OPTIMIZER_STEP_H

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.h"
#include "engine.h"
#include "engine/arguments.h"
#include "engine/constraints.h"
#include "errors.h"
#include "engine/topology.h"
#include "thread_pool.h"

namespace fastbptt {

// The trained parameters, in chunks of fixed length, so that sums of squares do not depend on the number of threads
template <class T>
class ParameterUpdates {
 public:
  explicit ParameterUpdates(std::vector<Range> trained) { set(std::move(trained)); }

  void set(std::vector<Range> trained) {
    constexpr i64 most = 4096;
    std::vector<Range> chunks;
    for (const Range& r : trained)
      for (i64 i = r.from; i < r.to; i += most) chunks.push_back({i, std::min(i + most, r.to)});
    sums_.resize(chunks.size());
    chunks_ = std::move(chunks);
    trained_ = std::move(trained);
  }

  const std::vector<Range>& trained() const { return trained_; }

  // The sum of all squares
  double squares(const Kernels<T>& k, const T* gradient) {
    each([&](std::size_t i) { sums_[i] = k.square_sum(gradient + chunks_[i].from, size(chunks_[i])); });
    double total = 0;
    for (const double sum : sums_) total += sum;
    return total;
  }

  void limit(const Kernels<T>& k, T* gradient, double most) const {
    each([&](std::size_t i) { k.limit(gradient + chunks_[i].from, size(chunks_[i]), T(most)); });
  }

  // One step; the gradient is multiplied by scale, and then no element of it is larger than most. most below 0: unknown
  void apply(const Kernels<T>& k, const OptimizerKernels<T>& rule, OptimizerState& state, T* params, const T* gradient,
             const ParameterConstraints<T>& constraints, double scale, double most) {
    const UpdateArgs<T> args = arguments(k, rule, state, state.settings, params, scale, most);
    std::vector<UpdateArgs<T>> own;  // of each group
    for (const OptimizerState::GroupSettings& group : state.groups) {
      double settings[OptimizerInfo::most_settings];
      std::copy_n(state.settings, OptimizerInfo::most_settings, settings);
      settings[state.lr] *= group.lr_factor;
      settings[state.weight_decay] = group.weight_decay;
      own.push_back(arguments(k, rule, state, settings, params, scale, most));
    }
    T* slots[OptimizerInfo::most_slots];
    for (int s = 0; s < OptimizerInfo::most_slots; ++s) slots[s] = static_cast<T*>(state.slots[s]);
    const auto update = [&](UpdateArgs<T> mine, const Range& r) {
      mine.p = params + r.from;
      mine.g = gradient + r.from;
      for (int s = 0; s < OptimizerInfo::most_slots; ++s) mine.slot[s] = slots[s] ? slots[s] + r.from : nullptr;
      rule.update(mine, size(r));
      constraints.project_signs(r, params, slots, state.info->odd);
    };
    run_team(threads(), [&](int worker, int team, Barrier&) {
      auto [chunk, end] = share(static_cast<i64>(chunks_.size()), worker, team);
      while (chunk < end) {  // chunks in a row at once
        Range r = chunks_[size_of(chunk)];
        while (++chunk < end && chunks_[size_of(chunk)].from == r.to) r.to = chunks_[size_of(chunk)].to;
        auto part = std::partition_point(state.parts.begin(), state.parts.end(),
                                         [&](const OptimizerState::Part& p) { return p.to <= r.from; });
        while (r.from < r.to) {
          const bool inside = part != state.parts.end() && part->from <= r.from;
          const i64 border = part == state.parts.end() ? r.to : inside ? part->to : part->from;
          const Range some{r.from, std::min(r.to, border)};
          update(inside ? own[size_of(part->group)] : args, some);
          r.from = some.to;
          if (inside && some.to == part->to) ++part;
        }
      }
    });
    constraints.limit_norms(params, [&](i64 i) { return !trains(i); });
    ++state.step;
  }

 private:
  bool trains(i64 element) const {
    return std::any_of(trained_.begin(), trained_.end(),
                       [=](const Range& r) { return r.from <= element && element < r.to; });
  }

  // What a step with these settings computes with, besides its arrays
  UpdateArgs<T> arguments(const Kernels<T>& k, const OptimizerKernels<T>& rule, const OptimizerState& state,
                          const double* settings, const T* params, double scale, double most) {
    double numbers[OptimizerInfo::most_numbers] = {};
    rule.resolve(settings, static_cast<double>(state.step + 1), numbers);
    UpdateArgs<T> args{};
    args.scale = T(scale);
    for (int i = 0; i < OptimizerInfo::most_numbers; ++i) {
      args.number[i] = T(numbers[i]);
      if (!std::isfinite(args.number[i]))
        throw ArgumentError({"the optimizer", "has settings that overflow at step " + std::to_string(state.step + 1),
                             "a smaller lr, because a model of float" + std::to_string(8 * sizeof(T)) +
                                 " has no number above " + number(std::numeric_limits<T>::max())});
    }
    if (most >= 0 && !ordinary(rule, state, args, most)) refuse_overflow(k, rule, state, args, params, most);
    return args;
  }

  // Whether a step leaves numbers, for one parameter and its gradient; also when many such steps have added up
  static bool fits(const OptimizerKernels<T>& rule, const OptimizerState& state, UpdateArgs<T> args, double parameter,
                   double gradient) {
    T p = T(parameter), slots[OptimizerInfo::most_slots] = {};
    const T g = T(gradient);
    args.p = &p;
    args.g = &g;
    args.scale = 1;
    for (int s = 0; s < OptimizerInfo::most_slots; ++s) args.slot[s] = state.slots[s] ? &slots[s] : nullptr;
    rule.update(args, 1);
    const OptimizerInfo& info = *rule.info;
    if (info.sum >= 0 && state.slots[info.sum]) {
      slots[info.sum] = T(double(slots[info.sum]) / (1 - state.settings[info.kept]));
      p = T(parameter);
      rule.update(args, 1);
    }
    return std::isfinite(p) &&
           std::all_of(slots, slots + OptimizerInfo::most_slots, [](T v) { return std::isfinite(v); });
  }

  // Whether products of three of these numbers are far from overflowing, so that nobody need try: almost always
  static bool ordinary(const OptimizerKernels<T>& rule, const OptimizerState& state, const UpdateArgs<T>& args,
                       double gradient) {
    constexpr T least = T(1e-9), most = T(1e6);
    for (const T value : args.number)
      if (const T size = std::abs(value); size != 0 && (size < least || size > most)) return false;
    const OptimizerInfo& info = *rule.info;
    return gradient < 1e9 && (info.sum < 0 || 1 - state.settings[info.kept] > 1e-6);
  }

  // Squares of large gradients, and products of them with settings, would overflow, and stay in the moments for ever.
  void refuse_overflow(const Kernels<T>& k, const OptimizerKernels<T>& rule, const OptimizerState& state,
                       const UpdateArgs<T>& args, const T* params, double gradient) {
    constexpr double large = 1e18;  // larger than any parameter that a pass can compute with
    if (fits(rule, state, args, large, gradient)) return;
    const double parameter = std::sqrt(squares(k, params));
    if (fits(rule, state, args, parameter, gradient)) return;
    const std::string type = "float" + std::to_string(8 * sizeof(T));
    if (!fits(rule, state, args, parameter, 0))
      throw ArgumentError({"the optimizer", "has settings with which a step overflows",
                           "a smaller lr or weight_decay for a model of " + type});
    throw ArgumentError({"the gradient",
                         "is too large for a step of the optimizer (its norm is " + number(gradient) + ")",
                         "one that clip_norm limits, or a smaller lr, for a model of " + type});
  }

  static i64 size(const Range& r) { return r.to - r.from; }
  int threads() const { return chunks_.size() > 32 ? threads_of_call() : 1; }

  template <class F>
  void each(const F& f) const {
    run_team(threads(), [&](int worker, int team, Barrier&) {
      const auto [from, to] = share(static_cast<i64>(chunks_.size()), worker, team);
      for (i64 i = from; i < to; ++i) f(size_of(i));
    });
  }

  std::vector<Range> trained_, chunks_;
  std::vector<double> sums_;  // of each chunk
};

}  // namespace fastbptt

#endif
