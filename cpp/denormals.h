// Denormal numbers as zero, in and out, until the end of the scope: they cost a hundred cycles each. Not in
// WebAssembly, which has no such mode.
#ifndef FASTBPTT_DENORMALS_H
#define FASTBPTT_DENORMALS_H

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastbptt {

class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(before_ | (std::uint64_t(1) << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  std::uint64_t before_ = 0;
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#define FASTBPTT_KEEPS_DENORMALS
#endif
 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
};

}  // namespace fastbptt

#endif
