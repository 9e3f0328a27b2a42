#include "bindings/register.h"
#include "bindings/structure.h"
#include "errors.h"

#include "bindings/arrays.h"

namespace fastbptt::bindings {

namespace {

void read_x(Call& call, py::handle value, Batch& to) {
  const bool tokens = call.spec.vocabulary > 0;
  const py::array x = array(value, "x");
  if (x.ndim() == 2 && !tokens) {  // packed: the lengths tell the rest
    call.packed_rows = x.shape(0);
    call.packed_x = value;
    return;
  }
  if (x.ndim() != (tokens ? 2 : 3))
    throw ArgumentError({"x", "has " + std::to_string(x.ndim()) + " dimensions", tokens ? "2" : "3"});
  call.batch = x.shape(0);
  call.time = x.shape(1);
  if (call.batch < 1 || call.time < 1) throw ArgumentError({"x", "is empty"});
  to.x = tokens ? view(value, "x", {call.batch, call.time}, {Dtype::i64})
                : view(value, "x", {call.batch, call.time, call.spec.inputs}, {Dtype::f32, Dtype::f64});
}

// Of packed rows: they decrease
void read_packed(Call& call, py::handle value, Batch& to) {
  const py::array lengths = array(value, "lengths");
  if (lengths.ndim() != 1 || lengths.shape(0) < 1) throw ArgumentError({"lengths", "is empty"});
  call.batch = lengths.shape(0);
  to.lengths = integers(value, "lengths", call.batch);
  call.time = to.lengths[0];
  i64 rows = 0;
  for (i64 i = 0; i < call.batch; ++i) {
    if (to.lengths[i] < 1 || to.lengths[i] > (i ? to.lengths[i - 1] : call.packed_rows))
      throw ArgumentError({"lengths", "increases, or is not one of packed rows"});
    rows += to.lengths[i];
  }
  if (rows != call.packed_rows)
    throw ArgumentError({"x", "has " + std::to_string(call.packed_rows) + " rows", std::to_string(rows)});
  to.packed = true;
}

void read_padded(Call& call, py::handle value, Batch& to) {
  to.lengths = integers(value, "lengths", call.batch);
  for (i64 i = 0; i < call.batch; ++i)
    if (to.lengths[i] < 1 || to.lengths[i] > call.time)
      throw ArgumentError({.argument = "lengths",
                           .problem = "holds " + std::to_string(to.lengths[i]),
                           .expected = "1 to " + std::to_string(call.time),
                           .index = {i},
                           .value = to.lengths[i]});
}

const Field<Batch> batch_fields[] = {
    {"x", nullptr, read_x},
    {"lengths", Py_None,
     [](Call& call, py::handle value, Batch& to) {
       read_lengths(call, value, to);
       if (to.packed) to.x = read_steps(call, call.packed_x, "x", call.spec.inputs);
     }},
    {"initial", Py_None, [](Call& call, py::handle value, Batch& to) { read_states(call, value, "h0", to.initial); }},
    {"static", Py_None,
     [](Call& call, py::handle value, Batch& to) {
       to.static_inputs = view(value, "static", {call.batch, call.spec.static_size}, {Dtype::f32, Dtype::f64});
     }},
    {"resets", Py_None,
     [](Call& call, py::handle value, Batch& to) {
       to.resets = flags(value, "resets", {call.batch, call.time});
     }},
    {"dropout_seed", Py_None,
     [](Call&, py::handle value, Batch& to) {
       to.drop = true;
       to.dropout_seed = py::cast<std::uint64_t>(value);
     }},
    {"noise_seed", Py_None,
     [](Call&, py::handle value, Batch& to) {
       to.noise = true;
       to.noise_seed = py::cast<std::uint64_t>(value);
     }},
    {"numbers", Py_None,
     [](Call& call, py::handle value, Batch& to) { to.numbers = integers(value, "numbers", call.batch); }},
    {"first_step", Py_None, [](Call&, py::handle value, Batch& to) { to.first_step = py::cast<i64>(value); }},
    {"check_finite", Py_True, [](Call&, py::handle value, Batch& to) { to.check_finite = py::cast<bool>(value); }},
};

}  // namespace

void read_lengths(Call& call, py::handle value, Batch& to) {
  if (call.packed_rows)
    read_packed(call, value, to);
  else
    read_padded(call, value, to);
}

void register_batch(py::module_& m) {
  Structure<Batch>::add_to(m, "Batch", "StridedSequences, the states that they start from, and how they go through.",
                           batch_fields, 1);
}

}  // namespace fastbptt::bindings
