// Memory with pages that may be neither read nor written. One of the files beside this one is compiled.
#ifndef FASTBPTT_TESTS_GUARDS_H
#define FASTBPTT_TESTS_GUARDS_H

#include <cstddef>

namespace guards {

// Whether the system protects pages: WebAssembly has none
extern const bool protects;

std::size_t page_size();

// So many pages between two that nobody may touch, for good; throws std::bad_alloc
char* between_guards(std::size_t pages);

bool readable(const char* at);

}  // namespace guards

#endif
