// The exception for invalid contents of an argument.
#ifndef FASTBPTT_ERRORS_H
#define FASTBPTT_ERRORS_H

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace fastbptt {

// An error in an argument, as data: a caller can replace name and index before passing it on. what() is the message for
// C++ programs; the Python class of the same name formats the same fields.
class ArgumentError : public std::invalid_argument {
 public:
  using Value = std::variant<std::monostate, std::int64_t, double>;
  struct Details {
    std::string argument;                  // "x", "sample_weight", "the gradient of W_hh"
    std::string problem;                   // "holds token 7"
    std::string expected = {};             // "tokens 0 to 5"; empty: obvious
    std::vector<std::int64_t> index = {};  // position in the array; empty: none
    Value value = {};                      // the number in the problem
  };
  explicit ArgumentError(Details details)
      : std::invalid_argument(sentence(details)), details_(std::make_shared<const Details>(std::move(details))) {}

  const Details& details() const { return *details_; }

 private:
  static std::string sentence(const Details& d);

  std::shared_ptr<const Details> details_;  // an exception must be copied without throwing
};

}  // namespace fastbptt

#endif
