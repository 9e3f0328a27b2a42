// Windows, which has no fork.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <bit>
#include <limits>
#include <thread>

#include "platform/platform.h"

namespace fastbptt::platform {

std::int64_t processor_time() {
  FILETIME created, ended, kernel, user;
  if (!GetThreadTimes(GetCurrentThread(), &created, &ended, &kernel, &user)) return 0;
  const auto nanoseconds = [](const FILETIME& t) {
    return ((std::int64_t(t.dwHighDateTime) << 32) | std::int64_t(t.dwLowDateTime)) * 100;
  };
  return nanoseconds(kernel) + nanoseconds(user);
}

int processors() {
  DWORD_PTR process = 0, system = 0;  // zero in a process whose threads are in several groups of processors
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system) && process != 0) return std::popcount(process);
  return static_cast<int>(std::thread::hardware_concurrency());
}

std::int64_t memory() {
  MEMORYSTATUSEX found{};
  found.dwLength = sizeof found;
  if (!GlobalMemoryStatusEx(&found)) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(found.ullTotalPhys);
}

void after_fork(void (*)()) {}

}  // namespace fastbptt::platform
