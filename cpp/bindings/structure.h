// The structures of a call as Python types: named fields, given by keyword, that do not change. Each step makes some of
// them, so they are CPython types of their own: pybind11's classes take seven times as long to make.
#ifndef FASTBPTT_BINDINGS_STRUCTURE_H
#define FASTBPTT_BINDINGS_STRUCTURE_H

#include <pybind11/pybind11.h>
#include <structmember.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "engine.h"

namespace fastbptt::bindings {

namespace py = pybind11;

// The call that structures are read for: what the shapes of their arrays depend on
struct Call {
  const Spec& spec;
  Dtype dtype;
  i64 parameters;
  int states;
  i64 batch = 0, time = 0;    // set by the batch
  i64 packed_rows = 0;        // of a packed batch
  py::handle packed_x = {};   // its x, until its lengths are read
  Steps steps = Steps::last;  // set by the objective
};

template <class S>
struct Field {
  const char* name;
  PyObject* preset;                                   // what it is if it is not given; null: it must be given
  void (*read)(Call& call, py::handle value, S& to);  // not called for None
};

// Binds S: its Python type, which holds the fields' values, and how they are read into an S
template <class S>
class Structure {
 public:
  // fields must live on; the first `positional` fields need no keyword.
  template <std::size_t n>
  static void add_to(py::module_& m, const char* name, const char* documentation, const Field<S> (&fields)[n],
                     std::size_t positional) {
    fields_ = fields;
    count_ = n;
    positional_ = positional;
    static PyMemberDef members[n + 1] = {};
    for (std::size_t i = 0; i < n; ++i) {
      names_.push_back(PyUnicode_InternFromString(fields[i].name));
      members[i] = {fields[i].name, T_OBJECT_EX, static_cast<Py_ssize_t>(offset(i)), READONLY, nullptr};
    }
    static PyMethodDef methods[] = {
        {"replace", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&replace)), METH_FASTCALL | METH_KEYWORDS,
         "Make another one that differs in the given fields."},
        {nullptr, nullptr, 0, nullptr}};
    std::string signature(name);
    for (std::size_t i = 0; i < n; ++i) {
      signature += i ? ", " : "(";
      if (i == positional) signature += "*, ";
      signature += fields[i].name;
      if (fields[i].preset) signature += fields[i].preset == Py_True ? "=True" : "=None";
    }
    signature += ")\n--\n\n";
    signature += documentation;
    PyType_Slot slots[] = {{Py_tp_doc, signature.data()},
                           {Py_tp_init, reinterpret_cast<void*>(&initialize)},
                           {Py_tp_dealloc, reinterpret_cast<void*>(&destroy)},
                           {Py_tp_members, members},
                           {Py_tp_methods, methods},
                           {0, nullptr}};
    static const std::string full = "fastbptt._core." + std::string(name);
    PyType_Spec spec{full.c_str(), static_cast<int>(offset(n)), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
    const auto made = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
    if (!made) throw py::error_already_set();
    type_ = reinterpret_cast<PyTypeObject*>(py::object(made).release().ptr());  // lives as long as the process
    type_->tp_vectorcall = &make;
    m.attr(name) = made;
  }

  static S read(Call& call, py::handle from) {
    if (Py_TYPE(from.ptr()) != type_)
      throw py::type_error("a " + std::string(Py_TYPE(from.ptr())->tp_name) + " was given; expected a " +
                           type_->tp_name);
    S to{};
    PyObject** values = values_of(from.ptr());
    for (std::size_t i = 0; i < count_; ++i)
      if (values[i] != Py_None) fields_[i].read(call, values[i], to);
    return to;
  }

 private:
  static constexpr std::size_t offset(std::size_t i) { return sizeof(PyObject) + i * sizeof(PyObject*); }
  static PyObject** values_of(PyObject* self) {
    return reinterpret_cast<PyObject**>(reinterpret_cast<std::byte*>(self) + offset(0));
  }

  // make has done all; it is here for inspect, which looks for the signature where there is an __init__
  static int initialize(PyObject*, PyObject*, PyObject*) { return 0; }

  static void destroy(PyObject* self) {
    PyObject** values = values_of(self);
    for (std::size_t i = 0; i < count_; ++i) Py_XDECREF(values[i]);
    PyTypeObject* type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
  }

  // Batch(x, lengths=..)
  static PyObject* make(PyObject*, PyObject* const* arguments, std::size_t flagged_count, PyObject* keywords) {
    const auto given = static_cast<std::size_t>(PyVectorcall_NARGS(flagged_count));
    if (given > positional_) {
      PyErr_Format(PyExc_TypeError, "%s takes %zu positional arguments; %zu were given", type_->tp_name, positional_,
                   given);
      return nullptr;
    }
    PyObject* self = type_->tp_alloc(type_, 0);
    if (!self) return nullptr;
    PyObject** values = values_of(self);
    for (std::size_t i = 0; i < given; ++i) values[i] = own(arguments[i]);
    if (!fill(values, arguments + given, keywords, given)) return drop(self);
    for (std::size_t i = 0; i < count_; ++i) {
      if (values[i]) continue;
      if (!fields_[i].preset) {
        PyErr_Format(PyExc_TypeError, "%s needs %U", type_->tp_name, names_[i]);
        return drop(self);
      }
      values[i] = own(fields_[i].preset);
    }
    return self;
  }

  // batch.replace(x=..)
  static PyObject* replace(PyObject* from, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
    if (given) {
      PyErr_Format(PyExc_TypeError, "replace takes keywords only");
      return nullptr;
    }
    PyObject* self = type_->tp_alloc(type_, 0);
    if (!self) return nullptr;
    if (!fill(values_of(self), arguments, keywords, 0)) return drop(self);
    for (std::size_t i = 0; i < count_; ++i)
      if (!values_of(self)[i]) values_of(self)[i] = own(values_of(from)[i]);
    return self;
  }

  static bool fill(PyObject** values, PyObject* const* arguments, PyObject* keywords, std::size_t next) {
    const Py_ssize_t n = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t k = 0; k < n; ++k, ++next) {
      PyObject* keyword = PyTuple_GET_ITEM(keywords, k);
      if (next >= count_ || names_[next] != keyword) next = place(keyword);  // mostly they come in order
      if (next == count_ || values[next]) {
        PyErr_Format(PyExc_TypeError, next == count_ ? "%s has no field %R" : "%s was given %R twice", type_->tp_name,
                     keyword);
        return false;
      }
      values[next] = own(arguments[k]);
    }
    return true;
  }

  static std::size_t place(PyObject* keyword) {
    const auto interned = std::find(names_.begin(), names_.end(), keyword);  // as those of calls in source are
    if (interned != names_.end()) return static_cast<std::size_t>(interned - names_.begin());
    std::size_t i = 0;
    while (i < count_ && PyUnicode_Compare(names_[i], keyword) != 0) ++i;
    return i;
  }

  static PyObject* own(PyObject* value) {
    Py_INCREF(value);
    return value;
  }
  static PyObject* drop(PyObject* self) {
    Py_DECREF(self);
    return nullptr;
  }

  inline static const Field<S>* fields_ = nullptr;
  inline static std::size_t count_ = 0, positional_ = 0;
  inline static std::vector<PyObject*> names_;  // interned
  inline static PyTypeObject* type_ = nullptr;
};

// "last", "all", "mean" or "max"
Steps steps_of(py::handle value);

// An array with the numbers of all steps, (B, T, columns) or packed
Array read_steps(const Call& call, py::handle value, const char* name, i64 columns);
// Packed rows, as the core has them
Array packed_steps(const Call& call, Array rows, i64 columns);
// How many steps each sequence has; of a packed batch they tell its other sizes
void read_lengths(Call& call, py::handle value, Batch& to);

// One array, or None, for each of the cell's states
void read_states(const Call& call, py::handle all, const char* name, Array* out);
// One writable array for each
void target_states(const Call& call, py::handle all, const char* name, void** out);

}  // namespace fastbptt::bindings

#endif
