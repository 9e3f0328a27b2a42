#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <new>

#include "guards.h"

namespace guards {

const bool protects = true;

std::size_t page_size() {
  SYSTEM_INFO system;
  GetSystemInfo(&system);
  return system.dwPageSize;
}

char* between_guards(std::size_t pages) {
  void* start = VirtualAlloc(nullptr, (pages + 2) * page_size(), MEM_RESERVE, PAGE_NOACCESS);
  if (!start) throw std::bad_alloc();
  char* const begin = static_cast<char*>(start) + page_size();
  if (!VirtualAlloc(begin, pages * page_size(), MEM_COMMIT, PAGE_READWRITE)) throw std::bad_alloc();
  return begin;
}

bool readable(const char* at) {
  char copy = 0;
  SIZE_T count = 0;
  return ReadProcessMemory(GetCurrentProcess(), at, &copy, 1, &count) && count == 1;
}

}  // namespace guards
