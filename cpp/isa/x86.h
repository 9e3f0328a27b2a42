// The instruction sets of this x86 processor. Not __builtin_cpu_supports: clang-cl comes without the library behind it.
#ifndef FASTBPTT_ISA_X86_H
#define FASTBPTT_ISA_X86_H

#include <cpuid.h>

namespace fastbptt {

struct X86 {
  bool avx2 = false, avx512 = false, avx512bf16 = false;  // avx2 with FMA; avx512: F, VL, BW, DQ

  X86() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const auto bit = [](unsigned word, int n) { return (word >> n & 1U) != 0; };
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    if (!bit(c, 27) || !bit(c, 28) || !bit(c, 12)) return;  // OSXSAVE, AVX, FMA
    unsigned saved = 0, high = 0;                           // registers that the system saves
    asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    constexpr unsigned ymm = 0x6, zmm = 0xe6;
    if ((saved & ymm) != ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    avx2 = bit(b, 5);
    avx512 = avx2 && (saved & zmm) == zmm && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    const unsigned leaves = a;
    if (avx512 && leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) avx512bf16 = bit(a, 5);
  }
};

}  // namespace fastbptt

#endif
