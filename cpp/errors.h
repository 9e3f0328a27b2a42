// The one exception for what an argument's contents forbid.
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

// What is wrong with an argument, as data: a caller that passes it on can put its own name and index in. what() is the
// sentence for C++ programs; the Python class of the same name makes one from the same fields.
class ArgumentError : public std::invalid_argument {
 public:
  using Value = std::variant<std::monostate, std::int64_t, double>;
  struct Details {
    std::string argument;                  // "x", "sample_weight", "the gradient of W_hh"
    std::string problem;                   // what came: "holds token 7"
    std::string expected = {};             // "tokens 0 to 5"; empty: obvious
    std::vector<std::int64_t> index = {};  // where in the array; empty: not at one place
    Value value = {};                      // the number that the problem speaks of
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
