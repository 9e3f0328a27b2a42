#include "text_tables.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace fastbptt {

namespace {

constexpr int kDigits = 19;                      // that an integer of 64 bits holds
constexpr std::uint64_t kExact = 1ULL << 53U;    // integers up to it are doubles
constexpr int kLargest = 22;                     // exponent of a power of ten that is a double
constexpr int kFar = 100000;                     // an exponent beyond all others
[[maybe_unused]] constexpr i64 kLongest = 1024;  // characters of a number that is read here
constexpr double kPowers[kLargest + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                          1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t'; }

// Of the characters of a number without its sign; false: not finite, or left to the caller.
bool rounded([[maybe_unused]] const char* begin, [[maybe_unused]] const char* end, [[maybe_unused]] char mark,
             [[maybe_unused]] double& value) {
#ifdef __cpp_lib_to_chars
  if (mark == '.') {
    const auto [stop, error] = std::from_chars(begin, end, value);
    return error == std::errc() && stop == end;
  }
  if (end - begin > kLongest) return false;
  char copy[kLongest];
  char* const last = std::replace_copy(begin, end, copy, mark, '.');
  const auto [stop, error] = std::from_chars(copy, last, value);
  return error == std::errc() && stop == last;
#else
  return false;
#endif
}

bool read_decimal(const char* at, const char* end, char mark, double& value) {
  while (at < end && is_space(*at)) ++at;
  while (at < end && is_space(end[-1])) --end;
  const bool negative = at < end && *at == '-';
  if (at < end && (*at == '-' || *at == '+')) ++at;
  const char* const begin = at;
  std::uint64_t whole = 0;  // wraps around beyond kDigits, and is not used then
  for (; at < end && is_digit(*at); ++at) whole = whole * 10 + static_cast<std::uint64_t>(*at - '0');
  i64 digits = at - begin;
  i64 exponent = 0;
  if (at < end && *at == mark) {
    const char* const first = ++at;
    for (; at < end && is_digit(*at); ++at) whole = whole * 10 + static_cast<std::uint64_t>(*at - '0');
    exponent = first - at;
    digits -= exponent;
  }
  if (digits == 0) return false;
  if (at < end && (*at == 'e' || *at == 'E')) {
    ++at;
    const bool down = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) ++at;
    const char* const first = at;
    i64 power = 0;
    for (; at < end && is_digit(*at); ++at) power = std::min<i64>(power * 10 + (*at - '0'), kFar);
    if (at == first) return false;
    exponent += down ? -power : power;
  }
  if (at != end) return false;
  // Both factors are exact, so the result is rounded once.
  const bool exact = FLT_EVAL_METHOD == 0 && digits <= kDigits && whole <= kExact;
  if (exact && exponent <= 0 && exponent >= -kLargest)
    value = static_cast<double>(whole) / kPowers[-exponent];
  else if (exact && exponent > 0 && exponent <= kLargest)
    value = static_cast<double>(whole) * kPowers[exponent];
  else if (!rounded(begin, end, mark, value))
    return false;
  if (negative) value = -value;
  return true;
}

// Eight characters, the first one in the lowest byte
std::uint64_t eight(const char* text) {
  std::uint64_t word = 0;
  std::memcpy(&word, text, sizeof word);
  return std::endian::native == std::endian::big ? __builtin_bswap64(word) : word;
}

std::uint64_t repeated(char c) { return 0x0101010101010101U * static_cast<unsigned char>(c); }

// 0x80 in each byte that is zero, and 0 in the others
std::uint64_t zero_bytes(std::uint64_t word) {
  constexpr std::uint64_t low = 0x7f7f7f7f7f7f7f7fU;
  return ~(((word & low) + low) | word | low);
}

}  // namespace

CellEnds find_cells(const char* text, i64 size, char delimiter) {
  CellEnds found;
  bool inside = false;  // quotes
  const auto mark = [&](i64 i) {
    if (text[i] == '"') {
      inside = !inside;
    } else if (text[i] == '\n') {
      if (inside) found.whole = false;
      found.last.push_back(static_cast<i64>(found.ends.size()));
      found.ends.push_back(i);
    } else if (!inside) {
      found.ends.push_back(i);
    }
  };
  const std::uint64_t marks[] = {repeated(delimiter), repeated('\n'), repeated('"')};
  found.ends.reserve(static_cast<std::size_t>(size / 8));
  i64 at = 0;
  for (; at + 8 <= size && found.whole; at += 8) {
    const std::uint64_t word = eight(text + at);
    std::uint64_t hits = 0;
    for (const std::uint64_t one : marks) hits |= zero_bytes(word ^ one);
    for (; hits != 0; hits &= hits - 1) mark(at + std::countr_zero(hits) / 8);
  }
  for (; at < size && found.whole; ++at)
    if (text[at] == delimiter || text[at] == '\n' || text[at] == '"') mark(at);
  return found;
}

void read_decimals(const char* text, const i64* begins, const i64* ends, i64 count, char mark, double* values,
                   bool* done) {
  for (i64 i = 0; i < count; ++i) done[i] = read_decimal(text + begins[i], text + ends[i], mark, values[i]);
}

}  // namespace fastbptt
