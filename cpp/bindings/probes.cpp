#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/structure.h"
#include "dispatch.h"

namespace fastbptt::bindings {

namespace {

i64 directions(const Call& call) { return call.spec.state_rows(); }

const Field<Probes> probe_fields[] = {
    {"hidden", Py_None,
     [](Call& call, py::handle value, Probes& to) {
       to.hidden = static_cast<double*>(target(value, "hidden", Dtype::f64, {directions(call), call.time}));
     }},
    {"gates", Py_None,
     [](Call& call, py::handle value, Probes& to) {
       to.gates = static_cast<double*>(target(value, "gates", Dtype::f64, {directions(call), call.time}));
     }},
    {"d_hidden", Py_None,
     [](Call& call, py::handle value, Probes& to) {
       to.d_hidden = target(value, "d_hidden", call.dtype, {directions(call), call.batch, call.time, call.spec.hidden});
     }},
    {"d_gates", Py_None,
     [](Call& call, py::handle value, Probes& to) {
       to.d_gates = target(
           value, "d_gates", call.dtype,
           {directions(call), cell_info(call.spec.cell).preactivations, call.batch, call.time, call.spec.hidden});
     }},
    {"saved", Py_None,
     [](Call& call, py::handle value, Probes& to) {
       to.saved = target(value, "saved", call.dtype,
                         {directions(call), cell_info(call.spec.cell).saved, call.batch, call.time, call.spec.hidden});
     }},
    {"outputs", Py_None,
     [](Call& call, py::handle value, Probes& to) {
       to.outputs = target(value, "outputs", call.dtype,
                           {call.batch, call.steps == Steps::all ? call.time : 1, call.spec.output_width()});
     }},
    {"norm", Py_None,
     [](Call&, py::handle value, Probes& to) {
       to.norm = static_cast<double*>(target(value, "norm", Dtype::f64, {1}));
     }},
    {"final_state", Py_None,
     [](Call& call, py::handle value, Probes& to) { target_states(call, value, "final_state", to.final_state); }},
};

}  // namespace

void register_probes(py::module_& m) {
  Structure<Probes>::add_to(m, "Probes", "The arrays that a training pass leaves what it was asked for in.",
                            probe_fields, 0);
}

}  // namespace fastbptt::bindings
