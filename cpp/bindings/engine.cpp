// One network: its calls, for structures that Python makes.
#include "engine.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bindings/optimizer.h"
#include "bindings/register.h"
#include "bindings/structure.h"
#include "dispatch.h"
#include "errors.h"

namespace fastbptt::bindings {

namespace {

// An array of all steps: (B, T, columns), (T, B, columns) or packed
struct StepRows {
  StepRows(const Call& call, i64 columns, bool time_first) : columns(columns), time_first(time_first) {
    const i64 b = call.batch, t = call.time, packed = call.packed_rows;
    shape = packed ? Sizes{packed, columns} : time_first ? Sizes{t, b, columns} : Sizes{b, t, columns};
  }
  RowTarget rows(void* data) const {
    const i64 row = shape[1] * columns;
    return time_first ? RowTarget{data, columns, row} : RowTarget{data, row, columns};
  }
  using Sizes = std::vector<py::ssize_t>;
  i64 columns;
  bool time_first;
  Sizes shape;
};

class PyTape {
 public:
  PyTape(std::unique_ptr<Tape> tape, Spec spec, int states, py::dtype dtype, const void* engine)
      : tape(std::move(tape)), engine(engine), spec_(std::move(spec)), states_(states), dtype_(std::move(dtype)) {}

  py::array outputs() const {
    return filled({tape->batch(), tape->time(), spec_.output_width()}, [this](void* out) { tape->outputs(out); });
  }
  py::array hidden(bool time_first = false) const {
    Call call{.spec = spec_, .dtype = {}, .parameters = 0, .states = states_};
    set_sizes(call);
    const StepRows to(call, spec_.width(), time_first);
    return filled(to.shape, [&](void* out) { tape->hidden(to.rows(out)); });
  }
  py::array last() const {
    return filled({tape->batch(), spec_.output_width()}, [this](void* out) { tape->last(out); });
  }
  py::tuple final_state() const {
    py::tuple all(states_);
    for (int s = 0; s < states_; ++s)
      all[static_cast<std::size_t>(s)] = filled(state_shape(), [this, s](void* out) { tape->final_state(s, out); });
    return all;
  }

  std::vector<py::ssize_t> state_shape() const { return {spec_.state_rows(), tape->batch(), spec_.hidden}; }
  py::array empty(std::vector<py::ssize_t> shape) const { return {dtype_, std::move(shape)}; }

  void set_sizes(Call& call) const {
    call.batch = tape->batch();
    call.time = tape->time();
    call.packed_rows = tape->packed_rows();
  }

  // A byte, always 0, that belongs to the tape: torch takes it as the memory of a tensor
  static py::array anchor(const py::object& self) {
    auto* at = self.cast<PyTape*>();
    anchored_.emplace(&at->mark_, at);
    return {py::dtype::of<std::uint8_t>(), {1}, {1}, &at->mark_, self};
  }
  // The tape with this anchor; null if there is none any more
  static PyTape* at(std::uintptr_t address) {
    const auto found = anchored_.find(reinterpret_cast<void*>(address));
    return found == anchored_.end() ? nullptr : found->second;
  }
  ~PyTape() { anchored_.erase(&mark_); }
  PyTape(const PyTape&) = delete;
  PyTape& operator=(const PyTape&) = delete;
  PyTape(PyTape&&) = default;
  PyTape& operator=(PyTape&&) = delete;

  std::unique_ptr<Tape> tape;
  const void* engine;  // whose it is
  py::object owner;    // the same, which so lives as long

 private:
  template <class F>
  py::array filled(std::vector<py::ssize_t> shape, const F& fill) const {
    py::array out = empty(std::move(shape));
    void* data = out.mutable_data();
    without_gil([&] { fill(data); });
    return out;
  }
  Spec spec_;
  int states_;
  py::dtype dtype_;
  std::uint8_t mark_ = 0;
  inline static std::unordered_map<void*, PyTape*> anchored_;  // under the GIL
};

class PyEngine {
 public:
  PyEngine(const Spec& spec, py::array params)
      : params_(std::move(params)),
        dtype_(dtype_of(params_, "params")),
        count_(parameter_count(spec)),
        states_(cell_info(spec.cell).states),
        has_params_(params_.size() > 0),
        engine_(make_engine(spec, dtype_, has_params_ ? target(params_, "params", dtype_, {count_}) : nullptr)) {}

  PyTape forward(py::handle batch) {
    Call call = new_call();
    const auto b = Structure<Batch>::read(call, batch);
    if (call.batch < 1) throw ArgumentError({"lengths", "is missing", "those of a packed x"});
    if (!b.weights) need_params();
    auto tape = without_gil([&] { return engine_->forward(b); });
    return {std::move(tape), spec(), states_, params_.dtype(), this};
  }

  // The hidden states of all steps and the final states, without what a backward pass needs
  py::list torch_predict(py::handle batch, bool time_first) {
    Call call = new_call();
    const auto b = Structure<Batch>::read(call, batch);
    if (call.batch < 1) throw ArgumentError({"lengths", "is missing", "those of a packed x"});
    if (!b.weights) need_params();
    py::list all;
    const auto add = [&](std::vector<py::ssize_t> shape) {
      py::array made(params_.dtype(), std::move(shape));
      all.append(made);
      return made.mutable_data();
    };
    const StepRows steps(call, spec().width(), time_first);
    Predictions to;
    to.outputs = steps.rows(add(steps.shape));
    for (int i = 0; i < states_; ++i) to.final_state[i] = add({spec().state_rows(), call.batch, spec().hidden});
    without_gil([&] { engine_->predict(b, to); });
    return all;
  }

  // (outputs or None, one or None, final states)
  py::tuple predict(py::handle batch, py::handle steps, bool outputs, bool one) {
    Call call = new_call();
    need_params();
    const auto b = Structure<Batch>::read(call, batch);
    if (call.batch < 1) throw ArgumentError({"lengths", "is missing", "those of a packed x"});
    Predictions to;
    to.steps = steps_of(steps);
    const auto array = [&](std::vector<py::ssize_t> shape, void*& place) {
      py::array made(params_.dtype(), std::move(shape));
      place = made.mutable_data();
      return made;
    };
    py::object every = py::none(), single = py::none();
    if (outputs) {
      const StepRows all(call, spec().output_width(), false);
      void* data = nullptr;
      every = array(all.shape, data);
      to.outputs = all.rows(data);
    }
    if (one) single = array({call.batch, spec().output_width()}, to.one);
    py::tuple states(states_);
    for (int s = 0; s < states_; ++s)
      states[static_cast<std::size_t>(s)] = array({spec().state_rows(), call.batch, spec().hidden}, to.final_state[s]);
    without_gil([&] { engine_->predict(b, to); });
    return py::make_tuple(every, single, states);
  }

  void backward(PyTape& tape, py::handle output_gradients, py::handle gradients) {
    if (tape.engine != this) throw ArgumentError({"the forward result", "belongs to another model"});
    Call call = new_call();
    tape.set_sizes(call);
    const auto from = Structure<OutputGradients>::read(call, output_gradients);
    const auto to = Structure<GradientTargets>::read(call, gradients);
    without_gil([&] { engine_->backward(*tape.tape, from, to); });
  }

  // The gradients of x, of the initial states and of the weights as PyTorch has them; None for what is not wanted
  py::tuple torch_gradients(PyTape& tape, py::handle output_gradients, bool x, bool initial, bool time_first) {
    if (tape.engine != this) throw ArgumentError({"the forward result", "belongs to another model"});
    Call call = new_call();
    tape.set_sizes(call);
    const auto from = Structure<OutputGradients>::read(call, output_gradients);
    const Spec& s = spec();
    GradientTargets to;
    py::list all;
    const auto add = [&](const py::array& made) {
      all.append(made);
      return const_cast<void*>(made.data());
    };
    if (x) {
      const StepRows steps(call, s.inputs, time_first);
      to.x = steps.rows(add(tape.empty(steps.shape)));
    } else {
      all.append(py::none());
    }
    for (int i = 0; i < states_; ++i)
      if (initial)
        to.initial[i] = add(tape.empty(tape.state_shape()));
      else
        all.append(py::none());
    const i64 rows = cell_info(s.cell).gates * s.hidden;
    std::vector<TorchWeights<void>> weights(static_cast<std::size_t>(s.state_rows()));
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const i64 inputs = static_cast<i64>(i) < s.directions() ? s.inputs : s.width();
      weights[i].input = add(tape.empty({rows, inputs}));
      weights[i].hidden = add(tape.empty({rows, s.hidden}));
      if (!s.bias) continue;
      weights[i].input_bias = add(tape.empty({rows}));
      weights[i].hidden_bias = add(tape.empty({rows}));
    }
    to.weights = weights.data();
    without_gil([&] { engine_->backward(*tape.tape, from, to); });
    return py::tuple(all);
  }

  double loss(py::handle batch, py::handle objective) {
    need_params();
    Call call = new_call();
    const auto b = Structure<Batch>::read(call, batch);
    const auto o = Structure<Objective>::read(call, objective);
    return without_gil([&] { return engine_->loss(b, o); });
  }

  double loss_and_grad(py::handle batch, py::handle objective, py::handle gradients, py::handle probes,
                       i64 memory_budget) {
    need_params();
    Call call = new_call();
    const auto b = Structure<Batch>::read(call, batch);
    const auto o = Structure<Objective>::read(call, objective);
    const auto to = Structure<GradientTargets>::read(call, gradients);
    const auto p = probes.is_none() ? Probes{} : Structure<Probes>::read(call, probes);
    return without_gil([&] { return engine_->loss_and_grad(b, o, to, p, memory_budget); });
  }

  double train_step(py::handle batch, py::handle objective, py::handle update, py::handle probes, i64 memory_budget) {
    need_params();
    Call call = new_call();
    const auto b = Structure<Batch>::read(call, batch);
    const auto o = Structure<Objective>::read(call, objective);
    const auto u = Structure<Update>::read(call, update);
    const auto p = probes.is_none() ? Probes{} : Structure<Probes>::read(call, probes);
    return without_gil([&] { return engine_->train_step(b, o, u, p, memory_budget); });
  }

  void step(py::handle x, py::handle state, py::handle y, bool check_finite, py::handle resets) {
    need_params();
    Call call = new_call();
    call.batch = py::len(x);
    const bool tokens = spec().vocabulary > 0;
    const Array in = tokens ? view(x, "x", {call.batch}, {Dtype::i64})
                            : view(x, "x", {call.batch, spec().inputs}, {Dtype::f32, Dtype::f64});
    void* out[CellInfo::most_states] = {};
    target_states(call, state, "state", out);
    void* to = target(y, "y", dtype_, {call.batch, spec().output_width()});
    const bool* anew = resets.is_none() ? nullptr : flags(resets, "resets", {call.batch});
    without_gil([&] { engine_->step(in, out, to, check_finite, anew); });
  }

  void update(py::handle update, py::handle grad, bool check_finite) {
    need_params();
    Call call = new_call();
    const auto u = Structure<Update>::read(call, update);
    const void* g = contiguous(grad, "grad", dtype_, {count_});
    without_gil([&] { engine_->update(u, g, check_finite); });
  }

  void freeze(const std::vector<std::string>& names) {
    without_gil([&] { engine_->freeze(names); });
  }

  i64 memory_needed(i64 batch, i64 time, i64 memory_budget, bool norms, py::handle steps, i64 resets) {
    const Size size = checked_size(batch, time, norms, steps, resets);
    return without_gil([&] { return engine_->memory_needed(size, memory_budget); });
  }

  i64 minimum_memory(i64 batch, i64 time, bool norms, py::handle steps, i64 resets) {
    const Size size = checked_size(batch, time, norms, steps, resets);
    return without_gil([&] { return engine_->minimum_memory(size); });
  }

  py::tuple report() const {
    const MemoryReport r = engine_->report();
    return py::make_tuple(r.segments, r.bytes, r.seconds, r.recompute_seconds);
  }

  void set_params(py::handle values) {
    need_params();
    const void* v = contiguous(values, "values", dtype_, {count_});
    without_gil([&] { engine_->set_params(v); });
  }

  py::array get_params() {
    need_params();
    py::array out(params_.dtype(), std::vector<py::ssize_t>{static_cast<py::ssize_t>(count_)});
    void* data = out.mutable_data();
    without_gil([&] { engine_->get_params(data); });
    return out;
  }

 private:
  const Spec& spec() const { return engine_->spec(); }
  void need_params() const {
    if (!has_params_) throw ArgumentError({"the network", "has no parameters of its own", "a batch with weights"});
  }
  Call new_call() const { return {.spec = spec(), .dtype = dtype_, .parameters = count_, .states = states_}; }

  static Size checked_size(i64 batch, i64 time, bool norms, py::handle steps, i64 resets) {
    if (batch < 1 || time < 1)
      throw ArgumentError(
          {"batch and time", "are " + std::to_string(batch) + " and " + std::to_string(time), "at least 1"});
    return {.batch = batch, .time = time, .resets = resets, .norms = norms, .steps = steps_of(steps)};
  }

  py::array params_;  // kept alive for the engine
  Dtype dtype_;
  i64 count_;
  int states_;
  bool has_params_;  // else each batch brings its weights
  std::unique_ptr<Engine> engine_;
};

// A forward pass for torch: the hidden states of all steps, the final states, and if `keep` the anchor of the tape
py::list torch_forward(const py::object& engine, py::handle batch, bool time_first, bool keep) {
  auto& self = engine.cast<PyEngine&>();
  if (!keep) return self.torch_predict(batch, time_first);
  PyTape tape = self.forward(batch);
  py::list all;
  all.append(tape.hidden(time_first));
  for (const py::handle state : tape.final_state()) all.append(state);
  tape.owner = engine;
  all.append(PyTape::anchor(py::cast(std::move(tape))));
  return all;
}

// Its backward pass; None if the tape is gone
py::object torch_backward(std::uintptr_t address, py::handle output_gradients, bool x, bool initial, bool time_first) {
  PyTape* tape = PyTape::at(address);
  if (!tape) return py::none();
  const py::object kept = py::cast(tape);  // while the GIL is released
  return tape->owner.cast<PyEngine&>().torch_gradients(*tape, output_gradients, x, initial, time_first);
}

}  // namespace

void register_engine(py::module_& m) {
  using py::arg;
  m.def("torch_forward", &torch_forward, arg("engine"), arg("batch"), arg("time_first"), arg("keep"));
  m.def("torch_backward", &torch_backward, arg("address"), arg("output_gradients"), arg("x"), arg("initial"),
        arg("time_first"));
  py::class_<PyTape>(m, "Tape")
      .def_property_readonly("outputs", &PyTape::outputs)
      .def_property_readonly("hidden", [](const PyTape& t) { return t.hidden(); })
      .def_property_readonly("last", &PyTape::last)
      .def_property_readonly("final_state", &PyTape::final_state)
      .def_property_readonly("batch", [](const PyTape& t) { return t.tape->batch(); })
      .def_property_readonly("time", [](const PyTape& t) { return t.tape->time(); });
  py::class_<PyEngine>(m, "Engine")
      .def(py::init<const Spec&, py::array>(), arg("spec"), arg("params"))
      .def("forward", &PyEngine::forward, arg("batch"))
      .def("predict", &PyEngine::predict, arg("batch"), arg("steps"), arg("outputs"), arg("one"))
      .def("backward", &PyEngine::backward, arg("tape"), arg("output_gradients"), arg("gradients"))
      .def("loss", &PyEngine::loss, arg("batch"), arg("objective"))
      .def("loss_and_grad", &PyEngine::loss_and_grad, arg("batch"), arg("objective"), arg("gradients"),
           arg("probes") = py::none(), arg("memory_budget") = 0)
      .def("train_step", &PyEngine::train_step, arg("batch"), arg("objective"), arg("update"),
           arg("probes") = py::none(), arg("memory_budget") = 0)
      .def("step", &PyEngine::step, arg("x"), arg("state"), arg("y"), arg("check_finite"), arg("resets") = py::none())
      .def("update", &PyEngine::update, arg("update"), arg("grad"), arg("check_finite"))
      .def("freeze", &PyEngine::freeze, arg("names"))
      .def("memory_needed", &PyEngine::memory_needed, arg("batch"), arg("time"), arg("memory_budget"), arg("norms"),
           arg("steps"), arg("resets"))
      .def("minimum_memory", &PyEngine::minimum_memory, arg("batch"), arg("time"), arg("norms"), arg("steps"),
           arg("resets"))
      .def("report", &PyEngine::report)
      .def("set_params", &PyEngine::set_params, arg("values"))
      .def("get_params", &PyEngine::get_params);
}

}  // namespace fastbptt::bindings
