// What each operating system does in a way of its own. One of the files beside this one is compiled.
#ifndef FASTBPTT_PLATFORM_PLATFORM_H
#define FASTBPTT_PLATFORM_PLATFORM_H

#include <cstdint>

namespace fastbptt::platform {

// That this thread had of a processor, in nanoseconds
std::int64_t processor_time();

// Processors that this process may run on, without regard to quotas; 0: unknown
int processors();

// Bytes of the machine's memory, or of the process's address space if that is limited to less
std::int64_t memory();

// Calls f in the child of each fork from now on, where there is fork
void after_fork(void (*f)());

}  // namespace fastbptt::platform

#endif
