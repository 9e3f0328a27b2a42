// How much memory this process may use.
#ifndef FASTBPTT_MEMORY_H
#define FASTBPTT_MEMORY_H

#include <cstdint>

namespace fastbptt {

// Bytes: the machine's memory, or what the process's control group (v2 or v1) leaves of it. Read once.
std::int64_t memory_limit();

}  // namespace fastbptt

#endif
