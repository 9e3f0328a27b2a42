// What module.cpp puts together: one function for each thing that Python sees.
#ifndef FASTBPTT_BINDINGS_REGISTER_H
#define FASTBPTT_BINDINGS_REGISTER_H

#include <pybind11/pybind11.h>

namespace fastbptt::bindings {

namespace py = pybind11;

void register_arrays(py::module_& m);
void register_errors(py::module_& m);
void register_gil(py::module_& m);
void register_machine(py::module_& m);
void register_registries(py::module_& m);
void register_spec(py::module_& m);
void register_optimizer(py::module_& m);
void register_batch(py::module_& m);
void register_loss(py::module_& m);
void register_objective(py::module_& m);
void register_update(py::module_& m);
void register_gradients(py::module_& m);
void register_probes(py::module_& m);
void register_engine(py::module_& m);
void register_sequences(py::module_& m);
void register_tensors(py::module_& m);
void register_text_tables(py::module_& m);
void register_training_data(py::module_& m);

}  // namespace fastbptt::bindings

#endif
