// The memory limit of this process.
#ifndef FASTBPTT_MEMORY_H
#define FASTBPTT_MEMORY_H

#include <cstdint>

namespace fastbptt {

// In bytes: the machine's memory or the limit of the process's control group (v2 or v1), if lower. Read once.
std::int64_t memory_limit();

}  // namespace fastbptt

#endif
