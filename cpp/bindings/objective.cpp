#include "bindings/register.h"
#include "bindings/structure.h"
#include "errors.h"

#include <string_view>
#include <utility>

#include "bindings/arrays.h"

namespace fastbptt::bindings {

namespace {

template <class E>
E choice(py::handle value, const char* name, std::initializer_list<std::pair<std::string_view, E>> all) {
  Py_ssize_t size = 0;
  const char* first = PyUnicode_AsUTF8AndSize(value.ptr(), &size);  // py::cast would note who keeps it alive
  if (!first) throw py::error_already_set();
  const std::string_view text(first, static_cast<std::size_t>(size));
  for (const auto& [one, e] : all)
    if (text == one) return e;
  std::string known;
  for (const auto& [one, e] : all) known += (known.empty() ? "'" : ", '") + std::string(one) + "'";
  throw ArgumentError({name, "is '" + std::string(text) + "'", "one of " + known});
}

void read_y(Call& call, py::handle value, Objective& to) {
  const bool classes = to.loss->info->targets == LossInfo::Targets::classes;
  Shape shape{call.batch};
  if (to.steps == Steps::all) shape.push_back(call.time);
  if (classes) {
    to.y = view(value, "y", shape, {Dtype::i64});
  } else {
    const i64 width = call.spec.output_width(), each = to.loss->outputs_per_target();
    if (width % each)
      throw ArgumentError(
          {"loss", "has " + std::to_string(each) + " outputs for each target", "as many, or a multiple"});
    shape.push_back(width / each);
    to.y = view(value, "y", shape, {Dtype::f32, Dtype::f64});
  }
}

// In this order: the shape of y depends on loss and steps.
const Field<Objective> objective_fields[] = {
    {"loss", nullptr, [](Call&, py::handle value, Objective& to) { to.loss = py::cast<const Loss*>(value); }},
    {"steps", nullptr, [](Call& call, py::handle value, Objective& to) { call.steps = to.steps = steps_of(value); }},
    {"reduction", nullptr,
     [](Call&, py::handle value, Objective& to) {
       to.reduction = choice<Reduction>(
           value, "reduction",
           {{"sum", Reduction::sum}, {"mean", Reduction::mean}, {"sequence_mean", Reduction::sequence_mean}});
     }},
    {"y", nullptr, read_y},
    {"sample_weight", Py_None,
     [](Call& call, py::handle value, Objective& to) {
       Shape shape{call.batch};
       if (to.steps == Steps::all && array(value, "sample_weight").ndim() == 2) shape.push_back(call.time);
       to.sample_weight = view(value, "sample_weight", shape, {Dtype::f64});
     }},
};

}  // namespace

Steps steps_of(py::handle value) {
  return choice<Steps>(value, "steps",
                       {{"last", Steps::last}, {"all", Steps::all}, {"mean", Steps::mean}, {"max", Steps::max}});
}

void register_objective(py::module_& m) {
  Structure<Objective>::add_to(m, "Objective", "The targets, and the loss that compares the outputs with them.",
                               objective_fields, 0);
}

}  // namespace fastbptt::bindings
