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

// Reads the byte and catches the exception; ReadProcessMemory would go past the protection under Wine
bool readable(const char* at) { return !IsBadReadPtr(at, 1); }

}  // namespace guards
