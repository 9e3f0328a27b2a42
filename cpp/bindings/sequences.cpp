// Sequences that lie anywhere, gathered into batches.
#include "bindings/sequences.h"

#include <pybind11/stl.h>

#include <cstddef>
#include <string>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

py::dtype real(py::dtype d) {
  if (std::string("fiub").find(d.kind()) == std::string::npos) throw py::type_error("sequences must hold real numbers");
  return d;
}

// Elements per step: the axis after that of steps, if there is one
i64 columns(const py::array& a, int axis) { return a.ndim() > axis ? a.shape(axis) : 1; }

}  // namespace

PyStridedSequences::PyStridedSequences(const py::array& all, const std::optional<py::array>& lengths)
    : kept_(py::make_tuple(all)),
      dtype_(real(all.dtype())),
      axes_(all.ndim()),
      sequences_(itemsize(), columns(all, 2)) {
  if (axes_ < 1 || axes_ > 3)
    throw ArgumentError({"sequences", "has " + std::to_string(axes_) + " dimensions", "one to three"});
  const i64 n = all.shape(0), time = axes_ > 1 ? all.shape(1) : 1;
  const i64* own = nullptr;
  if (lengths) own = integers(*lengths, "lengths", n);
  for (i64 i = 0; i < n; ++i) {
    const i64 steps = own ? own[i] : time;
    if (steps < 0 || steps > time)
      throw ArgumentError({"lengths", "holds " + std::to_string(steps), "0 to " + std::to_string(time), {i}});
    add(all, static_cast<const std::byte*>(all.data()) + i * all.strides(0), steps, 1);
  }
}

PyStridedSequences::PyStridedSequences(const py::list& all)
    : kept_(all),
      dtype_(real(item(0).dtype())),
      axes_(item(0).ndim() + 1),
      sequences_(itemsize(), columns(item(0), 1)) {
  if (axes_ < 2 || axes_ > 3)
    throw ArgumentError({"sequences", "holds one of " + std::to_string(axes_ - 1) + " dimensions", "one or two"});
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    const py::array one = item(i);
    if (!same(one.dtype()) || one.ndim() + 1 != axes_ || columns(one, 1) != sequences_.columns())
      throw ArgumentError({"sequences", "differ", "one dtype and one number of columns"});
    add(one, one.data(), one.shape(0), 0);
  }
}

void PyStridedSequences::gather(const py::array& rows, py::array out) const {
  if (rows.ndim() != 1) throw ArgumentError({"rows", "has " + std::to_string(rows.ndim()) + " dimensions", "one"});
  const i64 n = rows.shape(0);
  const i64* which = integers(rows, "rows", n);
  if (!same(out.dtype())) throw py::type_error("out has another dtype than the sequences");
  if (out.ndim() != axes_ || out.shape(0) != n || (axes_ > 2 && out.shape(2) != sequences_.columns()))
    throw ArgumentError({"out", "has the wrong shape"});
  if (!out.writeable() || !(out.flags() & py::array::c_style))
    throw ArgumentError({"out", "is read-only or not contiguous"});
  const i64 time = axes_ > 1 ? out.shape(1) : 1;
  void* to = out.mutable_data();
  without_gil([&] { sequences_.gather(which, n, time, to); });
}

py::array PyStridedSequences::item(std::size_t i) const {
  if (i >= kept_.size()) throw ArgumentError({"sequences", "is empty"});
  const py::object one = kept_[i];
  if (!py::isinstance<py::array>(one)) throw py::type_error("sequences must be arrays");
  return py::reinterpret_borrow<py::array>(one);
}

void PyStridedSequences::add(const py::array& a, const void* data, i64 steps, int steps_axis) {
  const auto stride = [&](int axis) { return a.ndim() > axis ? i64(a.strides(axis)) : itemsize(); };
  sequences_.add(data, steps, stride(steps_axis), stride(steps_axis + 1));
}

void register_sequences(py::module_& m) {
  using py::arg;
  py::class_<PyStridedSequences>(m, "StridedSequences")
      .def(py::init<const py::list&>(), arg("sequences"))
      .def(py::init<const py::array&, const std::optional<py::array>&>(), arg("sequences"), arg("lengths") = py::none())
      .def("gather", &PyStridedSequences::gather, arg("rows"), arg("out"))
      .def("__len__", &PyStridedSequences::count);
}

}  // namespace fastbptt::bindings
