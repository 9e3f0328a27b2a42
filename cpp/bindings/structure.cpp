#include "bindings/structure.h"

#include "bindings/arrays.h"
#include "dispatch.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

// f(number, array) for each array of a tuple of as many as the cell has states
template <class F>
void for_states(const Call& call, py::handle all, const char* name, const F& f) {
  const auto items = py::cast<py::tuple>(all);
  if (static_cast<int>(items.size()) != call.states)
    throw ArgumentError({name, "has " + std::to_string(items.size()) + " arrays", std::to_string(call.states)});
  const auto given = static_cast<std::size_t>(cell_info(call.spec.cell).given);
  for (std::size_t s = 0; s < items.size(); ++s) f(given + s, items[s]);
}

Shape state_shape(const Call& call) { return {call.spec.state_rows(), call.batch, call.spec.hidden}; }

}  // namespace

Array read_steps(const Call& call, py::handle value, const char* name, i64 columns) {
  if (!call.packed_rows) return view(value, name, {call.batch, call.time, columns}, {Dtype::f32, Dtype::f64});
  return packed_steps(call, view(value, name, {call.packed_rows, columns}, {Dtype::f32, Dtype::f64}), columns);
}

Array packed_steps(const Call& call, Array rows, i64 columns) {
  rows.strides[2] = rows.strides[1];
  rows.shape[0] = call.batch;
  rows.shape[1] = call.time;
  rows.shape[2] = columns;
  return rows;
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
