#include "bindings/training_data.h"

#include <utility>

#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/sequences.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

ArgumentError wrong(const char* name) { return ArgumentError({name, "has the wrong shape or dtype"}); }

Element element_of(const py::dtype& d) {
  const char kind = d.kind();
  const auto size = d.itemsize();
  if (d.byteorder() == '>' || (kind == 'f' && size != 4 && size != 8)) throw wrong("a part of the data");
  if (kind == 'f') return size == 4 ? Element::f32 : Element::f64;
  const int power = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
  return static_cast<Element>(static_cast<int>(kind == 'i' ? Element::i8 : Element::u8) + power);
}

// One part of the data, checked. columns: of each step, or of each sequence if steps is false; 0: it has no such axis
SequenceSource source(py::handle value, const char* name, i64 count, bool steps, i64 columns, Dtype integers) {
  const auto& from = py::cast<const PyStridedSequences&>(value);
  const StridedSequences& all = from.sequences();
  const Element element = element_of(from.dtype());
  const int axes = 1 + int(steps) + int(columns > 0);
  const bool whole = integers == Dtype::i64;
  if (from.axes() != axes || from.count() != count || (whole && from.dtype().kind() == 'f') ||
      (steps && columns && all.columns() != columns))
    throw wrong(name);
  const bool fixed = columns && !steps;
  for (i64 i = 0; fixed && i < count; ++i)
    if (all.steps(i) != columns) throw wrong(name);
  return {all, element, integers, axes, fixed ? columns : 0};
}

}  // namespace

PyTrainingData::PyTrainingData(Call call, const void* engine, py::handle objective, py::handle x, py::handle y,
                               py::handle sample_weight, i64 warmup, py::handle static_inputs, py::handle resets,
                               py::handle lengths, i64 time)
    : engine(engine), kept_(py::make_tuple(objective, x, y, sample_weight, static_inputs, resets)) {
  data.objective = Structure<Objective>::read(call, objective);
  Objective& o = data.objective;
  const Spec& spec = call.spec;
  const bool all = o.steps == Steps::all, tokens = spec.vocabulary > 0;
  const auto count = static_cast<i64>(py::len(x));
  data.x = source(x, "x", count, true, tokens ? 0 : spec.inputs, tokens ? Dtype::i64 : call.dtype);
  data.time = time;
  data.warmup = warmup;
  if (time < 1 || py::len(y) != o.blocks.size()) throw wrong("y");
  if (!lengths.is_none()) {
    const i64* own = integers(lengths, "lengths", count);
    data.lengths.assign(own, own + count);
    for (const i64 length : data.lengths)
      if (length < 1) throw wrong("lengths");
  }
  if (!static_inputs.is_none())
    data.static_inputs = source(static_inputs, "static", count, false, spec.static_size, call.dtype);
  if (!resets.is_none()) {
    data.resets = source(resets, "resets", count, true, 0, call.dtype);
    if (py::cast<const PyStridedSequences&>(resets).dtype().kind() != 'b') throw wrong("resets");
  }
  std::size_t k = 0;
  for (OutputBlock& block : o.blocks) {
    TrainingData::OfBlock from;
    const py::int_ place(k++);
    const bool classes = block.loss->info->targets == LossInfo::Targets::classes;
    const i64 width = block.width ? block.width : spec.output_width();
    from.y = source(y[place], "y", count, all, classes ? 0 : width / block.loss->outputs_per_target(),
                    classes ? Dtype::i64 : call.dtype);
    if (!sample_weight.is_none()) {
      const py::object own = sample_weight[place];
      block.own_weights = block.name != nullptr;
      if (!own.is_none()) {
        const auto& given = py::cast<const PyStridedSequences&>(own);
        from.sample_weight = source(own, "sample_weight", count, all && given.axes() > 1, 0, Dtype::f64);
        if (element_of(given.dtype()) != Element::f64) throw wrong("sample_weight");
      }
    }
    data.blocks.push_back(std::move(from));
  }
}

void register_training_data(py::module_& m) {
  py::class_<PyTrainingData>(m, "TrainingData").def_readwrite("done", &PyTrainingData::done);
  py::class_<TrainingCrew>(m, "TrainingCrew")
      .def(py::init<>())
      .def("__enter__", &TrainingCrew::join)
      .def("__exit__", [](TrainingCrew& crew, const py::args&) { crew.leave(); });
}

}  // namespace fastbptt::bindings
