// An optimiser's state as Python holds it.
#ifndef FASTBPTT_BINDINGS_OPTIMIZER_H
#define FASTBPTT_BINDINGS_OPTIMIZER_H

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "engine.h"

namespace fastbptt::bindings {

namespace py = pybind11;

class PyOptimizer {
 public:
  // None, or groups (n, 2): factor of lr, weight_decay; parts (m, 3): from, to, group
  PyOptimizer(const std::string& rule, const py::dict& slots, const py::dict& settings, py::handle groups,
              py::handle parts);
  OptimizerState& checked(Dtype dtype, i64 size);  // throws if its slots are for another model
  OptimizerState state;

 private:
  std::vector<py::array> arrays_;  // kept alive for the state
  Dtype dtype_ = Dtype::f32;
  i64 size_ = 0;
};

}  // namespace fastbptt::bindings

#endif
