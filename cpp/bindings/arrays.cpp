#include "bindings/arrays.h"

#include <pybind11/stl.h>

#include <vector>

#include "bindings/register.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

// NumPy's own descriptors of native dtypes are one object each: to compare them is all that most arrays need. Made at
// import: a thread that waits for another to make them would keep it from calling Python.
PyObject *f32 = nullptr, *f64 = nullptr;

std::string text(const Shape& shape) {
  return py::str(py::tuple(py::cast(std::vector<i64>(shape.begin(), shape.end()))));
}

void only(Dtype dtype, const char* name, std::initializer_list<Dtype> allowed) {
  if (std::find(allowed.begin(), allowed.end(), dtype) == allowed.end())
    throw py::type_error(std::string(name) + " has the wrong dtype");
}

void check_alignment(const void* data, std::uintptr_t size, const char* name) {
  if (reinterpret_cast<std::uintptr_t>(data) % size) throw ArgumentError({name, "is misaligned"});
}

py::array checked(py::handle value, const char* name, Dtype dtype, const Shape& expected) {
  py::array a = array(value, name);
  check_shape(a, name, expected);
  only(dtype_of(a, name), name, {dtype});
  if (!(a.flags() & py::array::c_style)) throw ArgumentError({name, "is not contiguous"});
  check_alignment(a.data(), static_cast<std::uintptr_t>(a.itemsize()), name);
  return a;
}

}  // namespace

py::array array(py::handle value, const char* name) {
  if (!py::isinstance<py::array>(value)) throw py::type_error(std::string(name) + " is not an array");
  return py::reinterpret_borrow<py::array>(value);
}

Dtype dtype_of(const py::array& a, const char* name) {
  PyObject* const own = py::detail::array_proxy(a.ptr())->descr;
  if (own == f32) return Dtype::f32;
  if (own == f64) return Dtype::f64;
  if (py::isinstance<py::array_t<float>>(a)) return Dtype::f32;
  if (py::isinstance<py::array_t<double>>(a)) return Dtype::f64;
  if (py::isinstance<py::array_t<i64>>(a)) return Dtype::i64;
  throw py::type_error(std::string(name) + " has dtype " + std::string(py::str(py::object(a.dtype()))) +
                       "; expected float32, float64 or int64");
}

void check_shape(const py::array& a, const char* name, const Shape& expected) {
  if (std::equal(expected.begin(), expected.end(), a.shape(), a.shape() + a.ndim())) return;
  const std::vector<i64> came(a.shape(), a.shape() + a.ndim());
  throw ArgumentError({name, "has shape " + std::string(py::str(py::tuple(py::cast(came)))), text(expected)});
}

Array view(py::handle value, const char* name, const Shape& expected, std::initializer_list<Dtype> allowed) {
  const py::array a = array(value, name);
  Array out;
  out.data = a.data();
  out.dtype = dtype_of(a, name);
  only(out.dtype, name, allowed);
  check_shape(a, name, expected);
  const auto size = static_cast<i64>(a.itemsize());
  check_alignment(out.data, static_cast<std::uintptr_t>(size), name);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    out.shape[i] = expected[i];
    out.strides[i] = expected[i] > 1 ? a.strides(static_cast<py::ssize_t>(i)) : 0;  // of no meaning where there is one
    if (out.strides[i] % size) throw ArgumentError({name, "is misaligned"});
  }
  return out;
}

const i64* integers(py::handle value, const char* name, i64 count) {
  return static_cast<const i64*>(contiguous(value, name, Dtype::i64, {count}));
}

const bool* flags(py::handle value, const char* name, const Shape& expected) {
  const py::array a = array(value, name);
  check_shape(a, name, expected);
  if (!py::isinstance<py::array_t<bool>>(a)) throw py::type_error(std::string(name) + " has the wrong dtype");
  if (!(a.flags() & py::array::c_style)) throw ArgumentError({name, "is not contiguous"});
  return static_cast<const bool*>(a.data());
}

const void* contiguous(py::handle value, const char* name, Dtype dtype, const Shape& expected) {
  return checked(value, name, dtype, expected).data();
}

void* target(py::handle value, const char* name, Dtype dtype, const Shape& expected) {
  py::array a = checked(value, name, dtype, expected);
  if (!a.writeable()) throw ArgumentError({name, "is read-only"});
  return a.mutable_data();
}

void register_arrays(py::module_&) {
  f32 = py::dtype::of<float>().release().ptr();
  f64 = py::dtype::of<double>().release().ptr();
}

}  // namespace fastbptt::bindings
