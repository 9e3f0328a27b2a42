// Sequences that lie anywhere, as Python holds them.
#ifndef FASTBPTT_BINDINGS_SEQUENCES_H
#define FASTBPTT_BINDINGS_SEQUENCES_H

#include <pybind11/numpy.h>

#include <optional>

#include "gather.h"

namespace fastbptt::bindings {

namespace py = pybind11;

// Arrays of one dtype and one number of columns, each a sequence; or one array of sequences. They are kept alive.
class PyStridedSequences {
 public:
  PyStridedSequences(const py::array& all, const std::optional<py::array>& lengths);
  explicit PyStridedSequences(const py::list& all);
  void gather(const py::array& rows, py::array out) const;

  i64 count() const { return sequences_.count(); }
  const StridedSequences& sequences() const { return sequences_; }
  const py::dtype& dtype() const { return dtype_; }
  int axes() const { return static_cast<int>(axes_); }  // of all of them as one array

 private:
  bool same(const py::dtype& d) const { return d.is(dtype_) || d.equal(dtype_); }
  i64 itemsize() const { return static_cast<i64>(dtype_.itemsize()); }
  py::array item(std::size_t i) const;
  void add(const py::array& a, const void* data, i64 steps, int steps_axis);

  py::tuple kept_;
  py::dtype dtype_;
  py::ssize_t axes_;
  StridedSequences sequences_;
};

}  // namespace fastbptt::bindings

#endif
