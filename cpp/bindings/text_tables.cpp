// Tables in text.
#include "text_tables.h"

#include <pybind11/numpy.h>

#include <cstdint>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

using Bytes = py::array_t<std::uint8_t, py::array::c_style>;

py::array_t<i64> to_array(const std::vector<i64>& values) {
  return py::array_t<i64>(static_cast<i64>(values.size()), values.data());
}

py::object find(const Bytes& text, char delimiter) {
  const auto* bytes = reinterpret_cast<const char*>(text.data());
  const i64 size = text.size();
  const CellEnds found = without_gil([&] { return find_cells(bytes, size, delimiter); });
  if (!found.whole) return py::none();
  return py::make_tuple(to_array(found.ends), to_array(found.last));
}

py::tuple read(const Bytes& text, const py::array& begins, const py::array& ends, char mark) {
  const i64 count = begins.size();
  const i64* from = integers(begins, "begins", count);
  const i64* to = integers(ends, "ends", count);
  for (i64 i = 0; i < count; ++i)
    if (from[i] < 0 || from[i] > to[i] || to[i] > text.size())
      throw ArgumentError({"begins", "lies outside of the text", "cells within it", {i}});
  py::array_t<double> values(count);
  py::array_t<bool> done(count);
  const auto* cells = reinterpret_cast<const char*>(text.data());
  double* value = values.mutable_data();
  bool* is_done = done.mutable_data();
  without_gil([&] { read_decimals(cells, from, to, count, mark, value, is_done); });
  return py::make_tuple(values, done);
}

}  // namespace

void register_text_tables(py::module_& m) {
  m.def("find_cells", &find, py::arg("text").noconvert(), py::arg("delimiter"));
  m.def("read_decimals", &read, py::arg("text").noconvert(), py::arg("begins"), py::arg("ends"), py::arg("mark"));
}

}  // namespace fastbptt::bindings
