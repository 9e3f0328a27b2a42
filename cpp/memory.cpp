#include "memory.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <limits>
#include <string>

#include "platform/platform.h"

namespace fastbptt {

namespace {

constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();

// "max" and numbers too large for a limit are none
std::int64_t limit_in(const std::string& path) {
  std::int64_t bytes = 0;
  return std::ifstream(path) >> bytes && bytes > 0 ? bytes : unlimited;
}

// Of a group and all around it, up to the root; inside a container the path may not exist below the mount
std::int64_t lowest_limit(const std::string& mount, std::string group, const char* file) {
  std::int64_t limit = limit_in(mount + "/" + file);
  for (; group.size() > 1; group.resize(group.rfind('/')))
    limit = std::min(limit, limit_in(mount + group + "/" + file));
  return limit;
}

std::int64_t read_limit() {
  constexpr std::int64_t addressable = std::numeric_limits<std::ptrdiff_t>::max();  // on 32 bits: 2 GB
  return std::min({platform::memory(), cgroup_memory_limit("/proc/self/cgroup", "/sys/fs/cgroup"), addressable});
}

}  // namespace

std::int64_t cgroup_memory_limit(const std::string& membership, const std::string& mount) {
  std::ifstream lines(membership);
  std::int64_t limit = std::min(limit_in(mount + "/memory.max"), limit_in(mount + "/memory/memory.limit_in_bytes"));
  for (std::string line; std::getline(lines, line);) {  // number:controllers:/group
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",",
                      group = line.substr(second + 1);
    if (group.empty() || group[0] != '/') continue;
    if (controllers == ",,") limit = std::min(limit, lowest_limit(mount, group, "memory.max"));
    if (controllers.find(",memory,") != std::string::npos)
      limit = std::min(limit, lowest_limit(mount + "/memory", group, "memory.limit_in_bytes"));
  }
  return limit;
}

std::int64_t memory_limit() {
  static const std::int64_t bytes = read_limit();
  return bytes;
}

}  // namespace fastbptt
