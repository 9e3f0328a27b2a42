#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

// Fresh memory of the workspaces is NaN, so that a test sees it if any of it is read before it is written.
#ifdef __SANITIZE_ADDRESS__
extern "C" const char* __asan_default_options() { return "max_malloc_fill_size=1073741824:malloc_fill_byte=255"; }
#else
std::atomic<std::size_t> aligned_bytes{0};  // all that was asked for

void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  aligned_bytes += size;
  void* const whole = std::malloc(size + unit + sizeof(void*));
  if (!whole) throw std::bad_alloc();
  auto* const begin = static_cast<char*>(whole) + sizeof(void*);
  char* const block = begin + (unit - reinterpret_cast<std::uintptr_t>(begin) % unit) % unit;
  std::memcpy(block - sizeof(void*), &whole, sizeof(void*));
  return std::memset(block, 255, size);
}

void operator delete(void* block, std::align_val_t) noexcept {
  void* whole = nullptr;
  if (block) std::memcpy(&whole, static_cast<char*>(block) - sizeof(void*), sizeof(void*));
  std::free(whole);
}

void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept {
  operator delete(block, alignment);
}
#endif
