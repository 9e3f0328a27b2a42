// The processor's instruction sets as isa/x86.h reads them and as the compiler's library does: two readings of CPUID.
#include <doctest/doctest.h>

#include "isa/x86.h"

TEST_CASE("the instruction sets of this processor are those that the compiler's library finds") {
  __builtin_cpu_init();
  const fastbptt::X86 found;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  CHECK(found.avx2 == avx2);
  CHECK(found.avx512 == avx512);
  CHECK(found.avx512bf16 == (avx512 && __builtin_cpu_supports("avx512bf16")));
  MESSAGE("avx2 ", found.avx2, ", avx512 ", found.avx512, ", avx512bf16 ", found.avx512bf16);
}
