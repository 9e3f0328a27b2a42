// C++'s ArgumentError becomes Python's: the class that src/fastbptt/_errors.py defines.
#include "errors.h"

#include <pybind11/stl.h>

#include <exception>

#include "bindings/register.h"

namespace fastbptt::bindings {

namespace {

void raise(const ArgumentError& error) {
  static py::gil_safe_call_once_and_store<py::object> storage;
  const py::object& type =
      storage.call_once_and_store_result([] { return py::module_::import("fastbptt._errors").attr("ArgumentError"); })
          .get_stored();
  const ArgumentError::Details& d = error.details();
  using py::arg;
  const py::object raised = type(d.argument, d.problem, d.expected, arg("index") = py::tuple(py::cast(d.index)),
                                 arg("value") = py::cast(d.value));
  PyErr_SetObject(type.ptr(), raised.ptr());
}

}  // namespace

void register_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const ArgumentError& error) {
      raise(error);
    }
  });
}

}  // namespace fastbptt::bindings
