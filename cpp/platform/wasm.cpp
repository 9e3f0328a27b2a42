// WebAssembly by Emscripten: one thread, one process, and a heap that grows to a limit.
#include <emscripten/heap.h>

#include <ctime>

#include "platform/platform.h"

namespace fastbptt::platform {

std::int64_t processor_time() { return std::int64_t(std::clock()) * (1'000'000'000 / CLOCKS_PER_SEC); }

int processors() { return 1; }

std::int64_t memory() { return static_cast<std::int64_t>(emscripten_get_heap_max()); }

void after_fork(void (*)()) {}

}  // namespace fastbptt::platform
