#include "bindings/structure.h"

#include <pybind11/stl.h>

#include <cstdint>

#include "bindings/arrays.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

// f(number, array) for each array of a tuple of as many as the cell has states
template <class F>
void for_states(const Call& call, py::handle all, const char* name, const F& f) {
  const auto items = py::cast<py::tuple>(all);
  if (static_cast<int>(items.size()) != call.states)
    throw ArgumentError({name, "has " + std::to_string(items.size()) + " arrays", std::to_string(call.states)});
  for (std::size_t s = 0; s < items.size(); ++s) f(s, items[s]);
}

Shape state_shape(const Call& call) { return {call.spec.state_rows(), call.batch, call.spec.hidden}; }

}  // namespace

Array read_steps(const Call& call, py::handle value, const char* name, i64 columns) {
  if (!call.packed_rows) return view(value, name, {call.batch, call.time, columns}, {Dtype::f32, Dtype::f64});
  Array rows = view(value, name, {call.packed_rows, columns}, {Dtype::f32, Dtype::f64});
  rows.strides[2] = rows.strides[1];
  rows.shape[0] = call.batch;
  rows.shape[1] = call.time;
  rows.shape[2] = columns;
  return rows;
}

std::vector<TorchWeights<const void>> read_addresses(const Call& call, py::handle value) {
  const auto all = py::cast<std::vector<std::uintptr_t>>(value);
  const std::size_t each = call.spec.bias ? 4 : 2, directions = static_cast<std::size_t>(call.spec.state_rows());
  if (all.size() != each * directions)
    throw ArgumentError(
        {"weights", "has " + std::to_string(all.size()) + " addresses", std::to_string(each * directions)});
  std::vector<TorchWeights<const void>> read(directions);
  const auto at = [&](std::size_t i) {
    if (!all[i]) throw ArgumentError({"weights", "holds no address", "one"});
    return reinterpret_cast<const void*>(all[i]);
  };
  for (std::size_t i = 0; i < directions; ++i)
    read[i] = {at(each * i), at(each * i + 1), each == 4 ? at(each * i + 2) : nullptr,
               each == 4 ? at(each * i + 3) : nullptr};
  return read;
}

void read_states(const Call& call, py::handle all, const char* name, Array* out) {
  for_states(call, all, name, [&](std::size_t s, const py::object& one) {
    if (!one.is_none()) out[s] = view(one, name, state_shape(call), {Dtype::f32, Dtype::f64});
  });
}

void target_states(const Call& call, py::handle all, const char* name, void** out) {
  for_states(call, all, name,
             [&](std::size_t s, const py::object& one) { out[s] = target(one, name, call.dtype, state_shape(call)); });
}

}  // namespace fastbptt::bindings
