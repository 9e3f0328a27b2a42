#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/register.h"
#include "engine.h"

namespace fastbptt::bindings {

void register_loss(py::module_& m) {
  using py::arg;
  py::class_<Loss>(m, "Loss").def(py::init([](const std::string& name, const py::dict& parameters) {
                                    Loss loss(name);
                                    for (const auto& [parameter, value] : parameters) {
                                      const auto key = py::cast<std::string>(parameter);
                                      if (py::isinstance<py::tuple>(value))
                                        loss.set(key, py::cast<std::vector<double>>(value));
                                      else
                                        loss.set(key, py::cast<double>(value));
                                    }
                                    return loss;
                                  }),
                                  arg("name"), arg("parameters") = py::dict());
}

}  // namespace fastbptt::bindings
