#include "memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace fastbptt {

namespace {

std::int64_t read_limit() {
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  const std::int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page > 0) limit = pages * page;
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::int64_t bytes = 0;
    if (std::ifstream(path) >> bytes) limit = std::min(limit, bytes);  // "max" is not a number
  }
  return limit;
}

}  // namespace

std::int64_t memory_limit() {
  static const std::int64_t bytes = read_limit();
  return bytes;
}

}  // namespace fastbptt
