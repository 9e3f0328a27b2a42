// Cells of text, and the numbers in them against strtod.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "text_tables.h"

using namespace fastbptt;

namespace {

bool read(const std::string& cell, double& value, char mark = '.') {
  const std::string text = "7" + cell + "7";  // digits beside it are not part of it
  const i64 begin = 1, end = begin + static_cast<i64>(cell.size());
  bool done = false;
  read_decimals(text.data(), &begin, &end, 1, mark, &value, &done);
  return done;
}

bool same(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

}  // namespace

TEST_CASE("numbers are those of strtod") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    double drawn = 0;
    const std::uint64_t bits = random();
    std::memcpy(&drawn, &bits, sizeof drawn);
    if (!(drawn - drawn == 0)) continue;  // not finite
    if (i % 2) drawn = static_cast<double>(static_cast<i64>(bits)) / 1e13;
    char cell[64];
    std::snprintf(cell, sizeof cell, i % 3 ? "%.17g" : "%.8g", drawn);
    double value = 0;
    if (read(cell, value)) CHECK_MESSAGE(same(value, std::strtod(cell, nullptr)), cell);
  }
}

TEST_CASE("forms of numbers") {
  double value = 0;
  for (const char* cell :
       {"0", "-0", "+5", ".5", "5.", "-.5e2", "1e22", "1E-22", "9007199254740993", "00012", " 1\t", "0e999"})
    if (read(cell, value)) CHECK_MESSAGE(same(value, std::strtod(cell, nullptr)), cell);
  for (const char* cell : {"1", "-2.5", "+3e5", "9007199254740992", " .25 "}) CHECK_MESSAGE(read(cell, value), cell);
  CHECK(read("1,5", value, ','));
  CHECK(value == 1.5);
}

TEST_CASE("what is no number is not done") {
  double value = 0;
  for (const char* cell : {"",      " ",    "-",   ".",   "e5",          "1e",  "1e+",   "inf",
                           "nan",   "0x10", "1_0", "1 2", "--1",         "1,5", "1e999", "12345678901234567890e400",
                           "1.2.3", "+-1",  "- 1", "1f",  "\xef\xbc\x91"})
    CHECK_MESSAGE(!read(cell, value), cell);
  CHECK(!read("1.5", value, ','));
}

TEST_CASE("cells end at delimiters and line feeds") {
  const std::string text = "a,\"b,c\"\n\n,x\n";
  const CellEnds found = find_cells(text.data(), static_cast<i64>(text.size()), ',');
  CHECK(found.ends == std::vector<i64>{1, 7, 8, 9, 11});
  CHECK(found.last == std::vector<i64>{1, 2, 4});
  CHECK(found.whole);
  const std::string open = "a,\"b\nc\"\n";
  CHECK(!find_cells(open.data(), static_cast<i64>(open.size()), ',').whole);
}
