// Dropout masks: a function of seed, layer, sequence, step and column alone, so the mask does not depend on order,
// threads or recomputation. The mixing function is the finaliser of splitmix64 (Steele, Lea and Flood 2014).
#ifndef FASTBPTT_ENGINE_DROPOUT_H
#define FASTBPTT_ENGINE_DROPOUT_H

#include <cmath>

#include "kernels/kernels.h"

namespace fastbptt {

class Dropout {
 public:
  Dropout(std::uint64_t seed, double share)
      : seed_(seed), limit_(static_cast<std::uint64_t>(std::floor(share * 4294967296.0))), scale_(1 / (1 - share)) {}

  // a[j] of n columns from column0 on, of one row: times 1 / (1 - share), or 0
  template <class T>
  void apply(i64 layer, i64 sequence, i64 t, i64 column0, i64 n, const T* a, T* out) const {
    const auto u = [](i64 i) { return static_cast<std::uint64_t>(i); };
    const std::uint64_t row = mix(seed_ + golden * (1 + u(layer) + (u(t) << 16) + (u(sequence) << 40)));
    const T scale = static_cast<T>(scale_);
    for (i64 j = 0; j < n; ++j) out[j] = mix(row + golden * u(1 + column0 + j)) >> 32 >= limit_ ? a[j] * scale : T(0);
  }

  // Of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), whose number i from a seed is mix(seed + golden i)
  static constexpr std::uint64_t golden = 0x9E3779B97F4A7C15;
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t seed_, limit_;
  double scale_;
};

}  // namespace fastbptt

#endif
