// Batches out of sequences: every element size, strides of both signs, ragged ends, rows that are not there.
#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <stdexcept>

#include "gather.h"

using namespace fastbptt;

namespace {

// An element that tells where it is from
template <class U>
U mark(i64 row, i64 t, i64 c) {
  return static_cast<U>(1 + row * 50 + t * 7 + c);
}

// rows sequences of time steps, each step columns wide, laid out by strides in elements around an origin
template <class U>
struct Field {
  Field(i64 rows, i64 time, i64 columns, i64 row, i64 step, i64 column)
      : memory(2 * reach(rows, row) + 2 * reach(time, step) + 2 * reach(columns, column) + 1, U(255)),
        origin(memory.data() + memory.size() / 2),
        row(row),
        step(step),
        column(column) {
    for (i64 r = 0; r < rows; ++r)
      for (i64 t = 0; t < time; ++t)
        for (i64 c = 0; c < columns; ++c) origin[r * row + t * step + c * column] = mark<U>(r, t, c);
  }
  static std::size_t reach(i64 n, i64 stride) { return static_cast<std::size_t>(n * (stride < 0 ? -stride : stride)); }
  void add(StridedSequences& all, i64 r, i64 steps) const {
    const auto size = static_cast<i64>(sizeof(U));
    all.add(origin + r * row, steps, step * size, column * size);
  }
  std::vector<U> memory;
  U* origin;
  i64 row, step, column;
};

template <class U>
void check(i64 columns, i64 row, i64 step, i64 column) {
  const i64 time = 4, lengths[] = {4, 1, 0, 3, 2};
  const Field<U> field(5, time, columns, row, step, column);
  StridedSequences all(sizeof(U), columns);
  for (i64 r = 0; r < 5; ++r) field.add(all, r, lengths[r]);
  CHECK(all.count() == 5);
  const i64 rows[] = {3, 0, 0, 2, 1, 4};
  std::vector<U> out(static_cast<std::size_t>(6 * time * columns), U(99));
  all.gather(rows, 6, time, out.data());
  std::size_t at = 0;
  for (i64 i = 0; i < 6; ++i)
    for (i64 t = 0; t < time; ++t)
      for (i64 c = 0; c < columns; ++c, ++at) CHECK(out[at] == (t < lengths[rows[i]] ? mark<U>(rows[i], t, c) : U(0)));
}

}  // namespace

TEST_CASE_TEMPLATE("gathered elements are those of the rows, zeros after their ends", U, std::uint8_t, std::int16_t,
                   float, double, std::int64_t, long double) {
  for (const i64 columns : {1, 3}) {
    check<U>(columns, 4 * columns, columns, 1);            // without gaps
    check<U>(columns, 4 * (columns + 2), columns + 2, 1);  // gaps between steps
    check<U>(columns, -4 * columns, columns, 1);           // sequences backwards
    check<U>(columns, 4 * columns, -columns, 1);           // steps backwards
    check<U>(columns, 8 * columns, 2 * columns, -2);       // columns backwards, with gaps
    check<U>(columns, 1, 5 * columns, 5);                  // sequences innermost
    check<U>(columns, 4, 1, 20);                           // steps innermost
  }
}

TEST_CASE("elements need not be aligned") {
  std::vector<char> memory(1 + 3 * sizeof(double));
  const double values[] = {1.5, -2.5, 3.5};
  std::memcpy(memory.data() + 1, values, sizeof values);
  for (const bool reversed : {false, true}) {
    StridedSequences all(sizeof(double), 1);
    const i64 size = sizeof(double);
    all.add(memory.data() + 1 + (reversed ? 2 * size : 0), 3, reversed ? -size : size, size);
    double out[3];
    const i64 row = 0;
    all.gather(&row, 1, 3, out);
    for (int i = 0; i < 3; ++i) CHECK(out[i] == values[reversed ? 2 - i : i]);
  }
}

TEST_CASE("rows that are not there and sequences that are too long are refused before anything is written") {
  const float values[] = {1, 2, 3};
  StridedSequences all(sizeof(float), 1);
  all.add(values, 3, sizeof(float), sizeof(float));
  float out[8];
  std::fill_n(out, 8, -1.0f);
  for (const i64 bad : {i64(1), i64(-1), i64(1) << 62}) {
    const i64 rows[] = {0, bad};
    CHECK_THROWS_AS(all.gather(rows, 2, 3, out), std::invalid_argument);
  }
  const i64 row = 0;
  CHECK_THROWS_AS(all.gather(&row, 1, 2, out), std::invalid_argument);
  for (const float one : out) CHECK(one == -1.0f);
  all.gather(&row, 0, 3, out);  // no rows, nothing to do
  CHECK(out[0] == -1.0f);
}
