// The Python module: array views, the GIL, and the checks that keep memory safe. Policy lives in Python.
#include "bindings/register.h"
#include "dispatch.h"

PYBIND11_MODULE(_core, m) {
  using namespace fastbptt::bindings;
  fastbptt::active();  // a wrong FASTBPTT_ISA is an error of the import
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
