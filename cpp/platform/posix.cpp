// Linux, macOS and other systems of their kind.
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <thread>

#include "platform/platform.h"
#ifdef __linux__
#include <sched.h>
#endif

namespace fastbptt::platform {

std::int64_t processor_time() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

int processors() {
#ifdef __linux__
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return CPU_COUNT(&mask);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

std::int64_t memory() {
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  const std::int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page > 0) limit = pages * page;
  rlimit space{};
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
    limit = static_cast<std::int64_t>(std::min<std::uint64_t>(space.rlim_cur, static_cast<std::uint64_t>(limit)));
  return limit;
}

void after_fork(void (*f)()) { pthread_atfork(nullptr, nullptr, f); }

}  // namespace fastbptt::platform
