// The vector vocabulary: a dozen verbs on GCC/Clang vector types of FASTBPTT_VECTOR_BYTES bytes.
// Knows nothing of networks. Included by kernels/ only, once per instruction set; all in an anonymous namespace, so
// that no code compiled for one processor can be linked into the path of another.
#ifndef FASTBPTT_SIMD_H
#define FASTBPTT_SIMD_H

#ifndef FASTBPTT_VECTOR_BYTES
#error "include simd.h from a unit in isa/, which sets FASTBPTT_VECTOR_BYTES"
#endif

#include <cstdint>
#include <utility>
#ifdef __AVX__
#include <immintrin.h>
#endif

#define FASTBPTT_INLINE [[gnu::always_inline]] static inline
#define FASTBPTT_MEMBER [[gnu::always_inline]]

namespace {

template <class T>
struct Lane;
template <>
struct Lane<float> {
  using Int = std::int32_t;
  static constexpr int mantissa = 23;
  static constexpr Int one = 0x3f800000;
  static constexpr float magic = 0x1.8p23F;  // adding it rounds to a whole number, left in the low bits
};
template <>
struct Lane<double> {
  using Int = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr Int one = 0x3ff0000000000000;
  static constexpr double magic = 0x1.8p52;
};

// Two bfloat16 numbers, the first in the low half
template <>
struct Lane<std::uint32_t> {
  using Int = std::int32_t;
};

template <class T>
struct Vector {
  typedef T V __attribute__((vector_size(FASTBPTT_VECTOR_BYTES)));
  typedef T Unaligned __attribute__((vector_size(FASTBPTT_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
  typedef typename Lane<T>::Int I __attribute__((vector_size(FASTBPTT_VECTOR_BYTES)));
};

template <class T>
using Vec = typename Vector<T>::V;
template <class T>
using IntVec = typename Vector<T>::I;

template <class T>
constexpr int lanes = FASTBPTT_VECTOR_BYTES / int(sizeof(T));

template <class T>
FASTBPTT_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Vector<T>::Unaligned*>(p);
}

template <class T>
FASTBPTT_INLINE void store(T* p, Vec<T> a) {
  *reinterpret_cast<typename Vector<T>::Unaligned*>(p) = a;
}

template <class T>
FASTBPTT_INLINE Vec<T> splat(T a) {
  return a - Vec<T>{};  // not a + 0: keeps the sign of -0
}

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
constexpr bool fused = true;  // fma rounds once
#else
constexpr bool fused = false;
#endif

// a * b + c; one rounding where the processor has the instruction (-ffp-contract=fast)
template <class V>
FASTBPTT_INLINE V fma(V a, V b, V c) {
  return a * b + c;
}

// acc and the products of what stands in a lane of a and b
template <class V>
FASTBPTT_INLINE V dot(V acc, V a, V b) {
  return fma(a, b, acc);
}

#ifdef __AVX512BF16__
FASTBPTT_INLINE Vec<float> dot(Vec<float> acc, Vec<std::uint32_t> a, Vec<std::uint32_t> b) {
  return (Vec<float>)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
}

// low and high one after the other, rounded to bfloat16
FASTBPTT_INLINE Vec<std::uint32_t> narrow(Vec<float> low, Vec<float> high) {
  return (Vec<std::uint32_t>)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}

// lane by lane the pair of first and second
FASTBPTT_INLINE Vec<std::uint32_t> paired(Vec<float> first, Vec<float> second) {
  typedef std::uint16_t Half __attribute__((vector_size(64)));
  const Half places = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (Vec<std::uint32_t>)_mm512_permutexvar_epi16((__m512i)places, (__m512i)narrow(first, second));
}
#endif

template <class T>
FASTBPTT_INLINE IntVec<T> bits(Vec<T> a) {
  return (IntVec<T>)a;
}

template <class T>
FASTBPTT_INLINE Vec<T> from_bits(IntVec<T> a) {
  return (Vec<T>)a;
}

// the smaller of a and limit; NaN stays NaN
template <class T>
FASTBPTT_INLINE Vec<T> at_most(Vec<T> a, T limit) {
#if defined(__AVX__) && FASTBPTT_VECTOR_BYTES == 32
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm256_min_ps(_mm256_set1_ps(limit), (__m256)a);
  if constexpr (sizeof(T) == 8) return (Vec<T>)_mm256_min_pd(_mm256_set1_pd(limit), (__m256d)a);
#endif
  return a > splat<T>(limit) ? splat<T>(limit) : a;
}

template <class T>
FASTBPTT_INLINE Vec<T> absolute(Vec<T> a) {
  const typename Lane<T>::Int sign = typename Lane<T>::Int(1) << (8 * sizeof(T) - 1);
  return from_bits<T>(bits<T>(a) & ~(sign - IntVec<T>{}));
}

// magnitude with the sign of a
template <class T>
FASTBPTT_INLINE Vec<T> with_sign_of(Vec<T> magnitude, Vec<T> a) {
  const typename Lane<T>::Int sign = typename Lane<T>::Int(1) << (8 * sizeof(T) - 1);
  return from_bits<T>(bits<T>(magnitude) | (bits<T>(a) & (sign - IntVec<T>{})));
}

#if defined(__AVX512F__) && FASTBPTT_VECTOR_BYTES == 64
template <class T>
constexpr bool estimates_reciprocal = sizeof(T) == 4;
#else
template <class T>
constexpr bool estimates_reciprocal = false;
#endif

template <class T>
FASTBPTT_INLINE Vec<T> square_root(Vec<T> a) {
  T part[lanes<T>];
  store(part, a);
  for (int i = 0; i < lanes<T>; ++i)  // which the compiler turns into one instruction
    part[i] = T(sizeof(T) == 4 ? __builtin_sqrtf(float(part[i])) : __builtin_sqrt(double(part[i])));
  return load(part);
}

// 1 / a, if there is an estimate to 14 bits or better: follow it by a step of refinement
template <class T>
FASTBPTT_INLINE Vec<T> rough_reciprocal(Vec<T> a) {
#if defined(__AVX512F__) && FASTBPTT_VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_rcp14_ps(0xffff, (__m512)a);  // division: 10 to 16 cycles
#endif
  return T(1) / a;
}

// the same numbers in double, low lanes first
FASTBPTT_INLINE void widen(Vec<float> a, Vec<double>& low, Vec<double>& high) {
  // GCC 12 takes a wide conversion apart, and puts it together again
#if defined(__AVX512F__) && FASTBPTT_VECTOR_BYTES == 64
  low = (Vec<double>)_mm512_maskz_cvtps_pd(0xff, (__m256)__builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7));
  high = (Vec<double>)_mm512_maskz_cvtps_pd(0xff, (__m256)__builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15));
#elif defined(__AVX__) && FASTBPTT_VECTOR_BYTES == 32
  low = (Vec<double>)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a));
  high = (Vec<double>)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1));
#else
  typedef float Half __attribute__((vector_size(FASTBPTT_VECTOR_BYTES / 2)));
  Half halves[2];
  __builtin_memcpy(halves, &a, sizeof a);
  low = __builtin_convertvector(halves[0], Vec<double>);
  high = __builtin_convertvector(halves[1], Vec<double>);
#endif
}

// lane by lane from the first (or second) halves of a and b: a0 b0 a1 b1 ...
template <class T, bool second, int... i>
FASTBPTT_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, std::integer_sequence<int, i...>) {
  constexpr int n = lanes<T>, from = second ? n / 2 : 0;
  return __builtin_shufflevector(a, b, (from + i / 2 + (i % 2) * n)...);
}

// rows[i][j] <-> rows[j][i] of as many rows as there are lanes
template <class T>
FASTBPTT_INLINE void transpose(Vec<T> (&rows)[lanes<T>]) {
  constexpr int n = lanes<T>;
  using Lanes = std::make_integer_sequence<int, n>;
#pragma GCC unroll 8
  for (int width = 1; width < n; width *= 2) {
    Vec<T> out[n];
#pragma GCC unroll 16
    for (int i = 0; i < n / 2; ++i) {
      out[2 * i] = interleave<T, false>(rows[i], rows[i + n / 2], Lanes{});
      out[2 * i + 1] = interleave<T, true>(rows[i], rows[i + n / 2], Lanes{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = out[i];
  }
}

// sum of the lanes, in one fixed order
template <class T>
FASTBPTT_INLINE T sum(Vec<T> a) {
  T part[lanes<T>];
  store(part, a);
  for (int width = lanes<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}

}  // namespace

#endif
