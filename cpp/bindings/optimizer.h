// An optimiser's state as Python holds it.
#ifndef FASTBPTT_BINDINGS_OPTIMIZER_H
#define FASTBPTT_BINDINGS_OPTIMIZER_H

#include <pybind11/numpy.h>

#include <string>
#include <tuple>
#include <vector>

#include "engine.h"

namespace fastbptt::bindings {

namespace py = pybind11;

class PyOptimizer {
 public:
  // groups: factor of lr, weight_decay; parts: from, to, group
  PyOptimizer(const std::string& rule, const py::dict& slots, const py::dict& settings,
              const std::vector<std::tuple<double, double>>& groups,
              const std::vector<std::tuple<i64, i64, int>>& parts);
  OptimizerState& checked(Dtype dtype, i64 size);  // throws if its slots are for another model
  OptimizerState state;

 private:
  std::vector<py::array> arrays_;  // kept alive for the state
  Dtype dtype_ = Dtype::f32;
  i64 size_ = 0;
};

}  // namespace fastbptt::bindings

#endif
