#include "bindings/optimizer.h"

#include <pybind11/stl.h>

#include <utility>

#include "bindings/arrays.h"
#include "bindings/register.h"
#include "errors.h"

namespace fastbptt::bindings {

PyOptimizer::PyOptimizer(const std::string& rule, const py::dict& slots, const py::dict& settings,
                         const std::vector<std::tuple<double, double>>& groups,
                         const std::vector<std::tuple<i64, i64, int>>& parts)
    : state(rule) {
  for (const auto& [name, values] : slots) {
    const auto label = py::cast<std::string>(name);
    auto a = array(values, label.c_str());
    const Dtype dtype = dtype_of(a, label.c_str());
    const auto size = static_cast<i64>(a.size());
    if (!arrays_.empty() && (dtype != dtype_ || size != size_))
      throw ArgumentError({"slots", "differ", "one size and one dtype"});
    dtype_ = dtype;
    size_ = size;
    state.attach(label, target(a, label.c_str(), dtype, {size}));
    arrays_.push_back(std::move(a));
  }
  for (const auto& [name, value] : settings) state.set(py::cast<std::string>(name), py::cast<double>(value));
  if (!groups.empty()) {
    std::vector<OptimizerState::GroupSettings> into;
    for (const auto& [factor, decay] : groups) into.push_back({factor, decay});
    std::vector<OptimizerState::Part> where;
    for (const auto& [from, to, group] : parts) where.push_back({from, to, group});
    state.divide(std::move(into), std::move(where));
  }
  state.check();
}

OptimizerState& PyOptimizer::checked(Dtype dtype, i64 size) {
  if (!arrays_.empty() && (dtype != dtype_ || size != size_))
    throw ArgumentError({"optimizer", "belongs to a model of another size or dtype"});
  return state;
}

void register_optimizer(py::module_& m) {
  using py::arg;
  py::class_<PyOptimizer>(m, "OptimizerState")
      .def(py::init<const std::string&, const py::dict&, const py::dict&,
                    const std::vector<std::tuple<double, double>>&, const std::vector<std::tuple<i64, i64, int>>&>(),
           arg("rule"), arg("slots"), arg("settings"), arg("groups") = py::tuple(), arg("parts") = py::tuple())
      .def_property(
          "step", [](const PyOptimizer& o) { return o.state.step; }, [](PyOptimizer& o, i64 n) { o.state.step = n; })
      .def(
          "set", [](PyOptimizer& o, const std::string& setting, double value) { o.state.set(setting, value); },
          arg("setting"), arg("value"));
}

}  // namespace fastbptt::bindings
