// The memory limit of this process.
#ifndef FASTBPTT_MEMORY_H
#define FASTBPTT_MEMORY_H

#include <cstdint>
#include <string>

namespace fastbptt {

// In bytes: the machine's memory, the limits of the process's control group and those around it (v2 or v1), or what
// its address space can hold, whichever is lowest. Read once.
std::int64_t memory_limit();

// The lowest limit of the control groups that `membership` (as /proc/self/cgroup) names below `mount` (as
// /sys/fs/cgroup), or the largest number
std::int64_t cgroup_memory_limit(const std::string& membership, const std::string& mount);

}  // namespace fastbptt

#endif
