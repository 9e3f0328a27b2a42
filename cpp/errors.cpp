#include "errors.h"

namespace fastbptt {

std::string ArgumentError::sentence(const Details& d) {
  std::string text = d.argument + " " + d.problem;
  if (!d.index.empty()) {
    text += " at index (";
    for (std::size_t i = 0; i < d.index.size(); ++i) text += (i ? ", " : "") + std::to_string(d.index[i]);
    text += d.index.size() == 1 ? ",)" : ")";
  }
  if (!d.expected.empty()) text += "; expected " + d.expected;
  return text;
}

}  // namespace fastbptt
