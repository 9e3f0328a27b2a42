#include <cstdlib>
#include <new>

#include "guards.h"

namespace guards {

const bool protects = false;

std::size_t page_size() { return 4096; }

char* between_guards(std::size_t pages) {
  auto* const start = static_cast<char*>(std::calloc(pages + 2, page_size()));
  if (!start) throw std::bad_alloc();
  return start + page_size();
}

bool readable(const char*) { return true; }

}  // namespace guards
