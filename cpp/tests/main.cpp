#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#ifndef __SANITIZE_ADDRESS__
std::atomic<std::size_t> aligned_bytes{0};  // all that was asked for
#endif

// Fresh memory of the workspaces is NaN, so that a test sees it if any of it is read before it is written.
extern "C" {
#ifdef __SANITIZE_ADDRESS__
const char* __asan_default_options() { return "max_malloc_fill_size=1073741824:malloc_fill_byte=255"; }
#else
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  void* block = nullptr;
  aligned_bytes += size;
  if (posix_memalign(&block, alignment, size) == 0) std::memset(block, 255, size);
  return block;
}
#endif
}
