#include "bindings/register.h"
#include "bindings/structure.h"
#include "errors.h"

#include <string_view>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/loss.h"

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

void read_loss(Call& call, py::handle value, Objective& to) {
  py::detail::make_caster<Loss> one;
  if (one.load(value, false)) {
    to.blocks.push_back({.loss = &py::detail::cast_op<const Loss&>(one)});
    return;
  }
  i64 first = 0;
  for (const LossBlocks::NamedLoss& block : py::cast<const LossBlocks*>(value)->blocks) {
    to.blocks.push_back(
        {.loss = &block.loss, .first = first, .width = block.width, .weight = block.weight, .name = &block.name});
    first += block.width;
  }
  if (const i64 width = call.spec.output_width(); first != width)
    throw ArgumentError({"loss", "has " + std::to_string(first) + " outputs", std::to_string(width)});
}

// Calls f for each block and its part of a tuple with one for each
template <class F>
void for_parts(py::handle value, const char* name, Objective& to, const F& f) {
  const auto parts = py::cast<py::tuple>(value);
  if (parts.size() != to.blocks.size())
    throw ArgumentError({name, "has " + std::to_string(parts.size()) + " parts", std::to_string(to.blocks.size())});
  for (std::size_t k = 0; k < parts.size(); ++k) f(parts[k], to.blocks[k]);
}

void read_block(Call& call, py::handle value, Steps steps, OutputBlock& to) {
  const bool classes = to.loss->info->targets == LossInfo::Targets::classes;
  Shape shape{call.batch};
  if (steps == Steps::all) shape.push_back(call.time);
  if (classes) {
    to.y = view(value, "y", shape, {Dtype::i64});
  } else {
    const i64 width = to.width ? to.width : call.spec.output_width(), each = to.loss->outputs_per_target();
    if (width % each)
      throw ArgumentError(
          {"loss", "has " + std::to_string(each) + " outputs for each target", "as many, or a multiple"});
    shape.push_back(width / each);
    to.y = view(value, "y", shape, {Dtype::f32, Dtype::f64});
  }
}

void read_y(Call& call, py::handle value, Objective& to) {
  if (to.blocks.size() == 1 && !py::isinstance<py::tuple>(value))
    return read_block(call, value, to.steps, to.blocks[0]);
  for_parts(value, "y", to, [&](py::handle part, OutputBlock& block) { read_block(call, part, to.steps, block); });
}

Array read_weights(const Call& call, py::handle value, Steps steps) {
  Shape shape{call.batch};
  if (steps == Steps::all && array(value, "sample_weight").ndim() == 2) shape.push_back(call.time);
  return view(value, "sample_weight", shape, {Dtype::f64});
}

void read_sample_weight(Call& call, py::handle value, Objective& to) {
  if (!py::isinstance<py::tuple>(value)) {
    const Array weights = read_weights(call, value, to.steps);
    for (OutputBlock& block : to.blocks) block.sample_weight = weights;
    return;
  }
  for_parts(value, "sample_weight", to, [&](py::handle part, OutputBlock& block) {
    if (!part.is_none()) block.sample_weight = read_weights(call, part, to.steps);
    block.own_weights = true;
  });
}

// (from, to, power) of each, its strength, and where its value goes
void read_penalties(Call& call, py::handle value, Objective& to) {
  const auto parts = py::cast<py::tuple>(value);
  if (parts.size() != 3) throw ArgumentError({"penalties", "has " + std::to_string(parts.size()) + " parts", "3"});
  const auto count = static_cast<i64>(py::len(parts[0]));
  const auto rows = static_cast<const i64*>(contiguous(parts[0], "penalties", Dtype::i64, {count, 3}));
  const auto strengths = static_cast<const double*>(contiguous(parts[1], "strengths", Dtype::f64, {count}));
  to.penalty_values = static_cast<double*>(target(parts[2], "values", Dtype::f64, {count}));
  for (i64 k = 0; k < count; ++k) {
    const i64 from = rows[3 * k], end = rows[3 * k + 1], power = rows[3 * k + 2];
    if (from < 0 || end < from || end > call.parameters || power < 1 || power > 2)
      throw ArgumentError({"penalties", "has a row that is no part of the parameters, or of another power"});
    to.penalties.push_back({from, end, static_cast<int>(power), strengths[k]});
  }
}

// The strengths, of |h|, h^2, change and Omega, and where their values go
void read_activity(Call&, py::handle value, Objective& to) {
  constexpr i64 terms = 4;
  const auto parts = py::cast<py::tuple>(value);
  if (parts.size() != 2) throw ArgumentError({"activity", "has " + std::to_string(parts.size()) + " parts", "2"});
  const auto s = static_cast<const double*>(contiguous(parts[0], "strengths", Dtype::f64, {terms}));
  to.activity = {s[0], s[1], s[2], s[3], static_cast<double*>(target(parts[1], "values", Dtype::f64, {terms}))};
}

// In this order: the shape of y depends on loss and steps.
const Field<Objective> objective_fields[] = {
    {"loss", nullptr, read_loss},
    {"steps", nullptr, [](Call& call, py::handle value, Objective& to) { call.steps = to.steps = steps_of(value); }},
    {"reduction", nullptr,
     [](Call&, py::handle value, Objective& to) {
       to.reduction = choice<Reduction>(
           value, "reduction",
           {{"sum", Reduction::sum}, {"mean", Reduction::mean}, {"sequence_mean", Reduction::sequence_mean}});
     }},
    {"y", nullptr, read_y},
    {"sample_weight", Py_None, read_sample_weight},
    {"losses", Py_None,
     [](Call&, py::handle value, Objective& to) {
       to.losses = static_cast<double*>(target(value, "losses", Dtype::f64, {static_cast<i64>(to.blocks.size())}));
     }},
    {"penalties", Py_None, read_penalties},
    {"activity", Py_None, read_activity},
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
