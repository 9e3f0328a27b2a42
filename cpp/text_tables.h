// Tables in text: where cells end, and the numbers in them. Needs no Python.
#ifndef FASTBPTT_TEXT_TABLES_H
#define FASTBPTT_TEXT_TABLES_H

#include <vector>

#include "kernels/kernels.h"

namespace fastbptt {

// The cells of a text, each of whose lines ends in a line feed.
struct CellEnds {
  std::vector<i64> ends;  // of the cells: at a delimiter or a line feed
  std::vector<i64> last;  // of each line, the index of its last cell
  bool whole = true;      // false: a line ends within quotes, and nothing else is known
};
CellEnds find_cells(const char* text, i64 size, char delimiter);

// Reads count cells of a text, from begins[i] to ends[i]: digits with a sign, a mark and an exponent, among spaces.
// Each number is the nearest double, as strtod reads it. done[i]: whether the cell has this form and is finite; the
// value of another is not set.
void read_decimals(const char* text, const i64* begins, const i64* ends, i64 count, char mark, double* values,
                   bool* done);

}  // namespace fastbptt
#endif
