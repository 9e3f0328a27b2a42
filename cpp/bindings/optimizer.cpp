#include "bindings/optimizer.h"

#include <utility>

#include "bindings/arrays.h"
#include "bindings/register.h"
#include "errors.h"

namespace fastbptt::bindings {

PyOptimizer::PyOptimizer(const std::string& rule, const py::dict& slots, const py::dict& settings, py::handle groups,
                         py::handle parts)
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
  if (!groups.is_none()) {
    const auto rows = [](py::handle values) { return static_cast<i64>(py::len(values)); };
    const auto* own = static_cast<const double*>(contiguous(groups, "groups", Dtype::f64, {rows(groups), 2}));
    const auto* where = static_cast<const i64*>(contiguous(parts, "parts", Dtype::i64, {rows(parts), 3}));
    std::vector<OptimizerState::GroupSettings> into;
    for (i64 i = 0; i < rows(groups); ++i) into.push_back({own[2 * i], own[2 * i + 1]});
    std::vector<OptimizerState::Part> places;
    for (i64 i = 0; i < rows(parts); ++i)
      places.push_back({where[3 * i], where[3 * i + 1], static_cast<int>(where[3 * i + 2])});
    state.divide(std::move(into), std::move(places));
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
      .def(py::init<const std::string&, const py::dict&, const py::dict&, py::handle, py::handle>(), arg("rule"),
           arg("slots"), arg("settings"), arg("groups") = py::none(), arg("parts") = py::none())
      .def_property(
          "step", [](const PyOptimizer& o) { return o.state.step.load(); },
          [](PyOptimizer& o, i64 n) { o.state.step = n; })
      .def(
          "set", [](PyOptimizer& o, const std::string& setting, double value) { o.state.set(setting, value); },
          arg("setting"), arg("value"));
}

}  // namespace fastbptt::bindings
