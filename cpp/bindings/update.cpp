#include "bindings/optimizer.h"
#include "bindings/register.h"
#include "bindings/structure.h"

namespace fastbptt::bindings {

namespace {

const Field<Clip> clip_fields[] = {
    {"norm", Py_None, [](Call&, py::handle value, Clip& to) { to.norm = py::cast<double>(value); }},
    {"value", Py_None, [](Call&, py::handle value, Clip& to) { to.value = py::cast<double>(value); }},
};

const Field<Update> update_fields[] = {
    {"optimizer", nullptr,
     [](Call& call, py::handle value, Update& to) {
       to.optimizer = &py::cast<PyOptimizer&>(value).checked(call.dtype, call.parameters);
     }},
    {"clip", Py_None, [](Call& call, py::handle value, Update& to) { to.clip = Structure<Clip>::read(call, value); }},
};

}  // namespace

void register_update(py::module_& m) {
  Structure<Clip>::add_to(m, "Clip", "The largest norm of the gradient, or the largest magnitude of its elements.",
                          clip_fields, 0);
  Structure<Update>::add_to(m, "Update", "The optimiser, and what is done to the gradient before it.", update_fields,
                            2);
}

}  // namespace fastbptt::bindings
