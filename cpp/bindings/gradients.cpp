#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/structure.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

const Field<GradientTargets> target_fields[] = {
    {"parameters", nullptr,
     [](Call& call, py::handle value, GradientTargets& to) {
       to.parameters = target(value, "parameters", call.dtype, {call.parameters});
     }},
    {"x", Py_None,
     [](Call& call, py::handle value, GradientTargets& to) {
       if (call.spec.vocabulary) throw ArgumentError({"x", "is given", "none: tokens have no gradient"});
       to.x = {target(value, "x", call.dtype, {call.batch, call.time, call.spec.inputs}), call.time * call.spec.inputs,
               call.spec.inputs};
     }},
    {"initial", Py_None,
     [](Call& call, py::handle value, GradientTargets& to) { target_states(call, value, "initial", to.initial); }},
};

const Field<OutputGradients> output_fields[] = {
    {"outputs", Py_None,
     [](Call& call, py::handle value, OutputGradients& to) {
       to.outputs = read_steps(call, value, "d_outputs", call.spec.output_width());
     }},
    {"last", Py_None,
     [](Call& call, py::handle value, OutputGradients& to) {
       to.last = view(value, "d_last", {call.batch, call.spec.output_width()}, {Dtype::f32, Dtype::f64});
     }},
    {"hidden", Py_None,
     [](Call& call, py::handle value, OutputGradients& to) {
       to.hidden = read_steps(call, value, "d_hidden", call.spec.width());
     }},
    {"final_state", Py_None,
     [](Call& call, py::handle value, OutputGradients& to) {
       read_states(call, value, "d_final_state", to.final_state);
     }},
    {"check_finite", Py_True,
     [](Call&, py::handle value, OutputGradients& to) { to.check_finite = py::cast<bool>(value); }},
};

}  // namespace

void register_gradients(py::module_& m) {
  Structure<GradientTargets>::add_to(m, "GradientTargets", "The arrays that gradients are written to.", target_fields,
                                     1);
  Structure<OutputGradients>::add_to(m, "OutputGradients", "Gradients of the outputs, for a loss of the caller's.",
                                     output_fields, 0);
}

}  // namespace fastbptt::bindings
