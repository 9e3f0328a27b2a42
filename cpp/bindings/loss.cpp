#include "bindings/loss.h"

#include <pybind11/stl.h>

#include <tuple>

#include "bindings/register.h"
#include "errors.h"

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
  using Part = std::tuple<std::string, Loss, i64, double>;
  py::class_<LossBlocks>(m, "LossBlocks")
      .def(py::init([](const std::vector<Part>& parts) {
             LossBlocks losses;
             if (parts.empty()) throw ArgumentError({"blocks", "is empty", "at least one"});
             for (const auto& [name, loss, width, weight] : parts) {
               if (width < 1 || !(weight >= 0)) throw ArgumentError({"blocks", "has no columns, or a weight below 0"});
               losses.blocks.push_back({name, loss, width, weight});
             }
             return losses;
           }),
           arg("blocks"));
}

}  // namespace fastbptt::bindings
