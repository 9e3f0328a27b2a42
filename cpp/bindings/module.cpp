// The Python module: array views, the GIL, and the checks that keep memory safe. Policy lives in Python.
#include "bindings/register.h"
#include "dispatch.h"

// Needs no GIL: docs/architecture.md lists what threads share
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used(), pybind11::multiple_interpreters::not_supported()) {
  using namespace fastbptt::bindings;
  // Python itself refuses only from 3.12 on, and not where a program such as mod_wsgi makes them in the old way
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw py::import_error("fastbptt does not support subinterpreters: use threads or processes");
  fastbptt::active();  // a wrong FASTBPTT_ISA is an error of the import
  register_arrays(m);
  register_errors(m);
  register_gil(m);
  register_machine(m);
  register_registries(m);
  register_spec(m);
  register_optimizer(m);
  register_batch(m);
  register_loss(m);
  register_objective(m);
  register_update(m);
  register_gradients(m);
  register_probes(m);
  register_sequences(m);
  register_training_data(m);
  register_engine(m);
  register_tensors(m);
  register_text_tables(m);
}
