// Names and descriptions of cells, losses and optimisers.
#include <pybind11/stl.h>

#include <cmath>
#include <string>
#include <vector>

#include "bindings/register.h"
#include "dispatch.h"

namespace fastbptt::bindings {

namespace {

py::dict describe_cell(const std::string& cell) {
  const CellInfo& info = cell_info(cell);
  py::list states, extra_bias;
  for (int s = info.given; s < info.states; ++s) states.append(info.state_names[s]);
  if (info.extra_bias) extra_bias.append(info.extra_bias);
  py::list gate_names, preactivations;
  for (int g = 0; g < info.gates; ++g) gate_names.append(info.gate_names[g]);
  for (int j = 0; j < info.preactivations; ++j) {
    const Preactivation& p = info.preactivation[j];
    py::dict one;
    one["gate"] = p.gate;
    one["input"] = p.input;
    one["hidden"] = p.hidden == Preactivation::none     ? py::object(py::none())
                    : p.hidden == Preactivation::before ? py::object(py::str("before"))
                                                        : py::object(py::int_(p.hidden));
    one["saved"] = p.saved;
    one["is_sigmoid"] = p.is_sigmoid;
    preactivations.append(one);
  }
  py::dict out;
  out["gates"] = info.gates;
  out["gate_names"] = gate_names;
  out["preactivations"] = preactivations;
  out["saved"] = info.saved;
  out["bounded"] = info.bounded;
  out["omega"] = info.omega != CellInfo::Omega::none;
  out["states"] = states;
  out["given"] = info.given;
  out["setting"] = info.setting ? py::object(py::str(info.setting)) : py::object(py::none());
  out["extra_bias"] = extra_bias;
  return out;
}

void add_range(py::dict& to, const Interval& range) {
  if (std::isfinite(range.low)) to[range.open ? "above" : "low"] = range.low;
  if (std::isfinite(range.high)) to[range.open ? "below" : "high"] = range.high;
}

py::dict describe_loss(const std::string& loss) {
  const LossInfo& info = loss_info(loss);
  py::dict parameters;
  for (const LossParameter& p : info.parameters) {
    if (!p.name) continue;
    py::dict one;
    one["default"] = p.preset;
    one["of_targets"] = p.of_targets;
    add_range(one, p.range);
    parameters[p.name] = one;
  }
  if (info.list.name) {
    py::dict one;
    py::tuple preset(info.list.presets);
    for (int i = 0; i < info.list.presets; ++i) preset[static_cast<std::size_t>(i)] = info.list.preset[i];
    one["default"] = preset;
    one["of_targets"] = false;
    add_range(one, info.list.range);
    parameters[info.list.name] = one;
  }
  py::dict out;
  out["name"] = loss;
  out["targets"] = info.targets == LossInfo::Targets::classes ? "classes" : "numbers";
  out["low"] = info.range.low;
  out["high"] = info.range.high;
  out["link"] = info.link;
  out["two_values"] = info.two_values;
  out["outputs"] = info.list.name ? py::object(py::str(info.list.name)) : py::object(py::int_(info.outputs));
  out["one_for"] = info.one_for == LossInfo::One::output   ? "output"
                   : info.one_for == LossInfo::One::target ? "target"
                                                           : "row";
  out["parameters"] = parameters;
  return out;
}

py::dict describe_optimizer(const std::string& rule) {
  const OptimizerInfo& info = optimizer_info(rule);
  py::list slots, settings;
  for (const char* name : info.slots)
    if (name) slots.append(name);
  for (const char* name : info.settings)
    if (name) settings.append(name);
  py::dict out;
  out["slots"] = slots;
  out["required"] = info.required;
  out["settings"] = settings;
  return out;
}

}  // namespace

void register_registries(py::module_& m) {
  m.def("cells", &cell_names);
  m.def("cell_info", &describe_cell, py::arg("name"));
  m.def("losses", &loss_names);
  m.def("loss_info", &describe_loss, py::arg("name"));
  m.def("optimizers", &optimizer_names);
  m.def("optimizer_info", &describe_optimizer, py::arg("rule"));
}

}  // namespace fastbptt::bindings
