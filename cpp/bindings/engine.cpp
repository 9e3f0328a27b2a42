// One network: its calls, for structures that Python makes.
#include "engine.h"

#include <pybind11/stl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bindings/optimizer.h"
#include "bindings/register.h"
#include "bindings/structure.h"
#include "bindings/tensors.h"
#include "bindings/training_data.h"
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
  Shape sizes() const { return shape.size() == 2 ? Shape{shape[0], shape[1]} : Shape{shape[0], shape[1], shape[2]}; }
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
  py::array hidden() const {
    Call call{.spec = spec_, .dtype = {}, .parameters = 0, .states = states_};
    set_sizes(call);
    const StepRows to(call, spec_.width(), false);
    return filled(to.shape, [&](void* out) { tape->hidden(to.rows(out)); });
  }
  py::array last() const {
    return filled({tape->batch(), spec_.output_width()}, [this](void* out) { tape->last(out); });
  }
  py::tuple final_state() const {
    py::tuple all(states_);
    for (int s = 0; s < states_; ++s)
      all[static_cast<std::size_t>(s)] =
          filled(state_shape(), [&, s](void* out) { tape->final_state(cell_info(spec_.cell).given + s, out); });
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
    {
      const std::lock_guard<std::mutex> lock(anchored_mutex_);
      anchored_.emplace(&at->mark_, at);
    }
    return {py::dtype::of<std::uint8_t>(), {1}, {1}, &at->mark_, self};
  }
  // The tape with this anchor; null if there is none any more
  static PyTape* at(std::uintptr_t address) {
    const std::lock_guard<std::mutex> lock(anchored_mutex_);
    const auto found = anchored_.find(reinterpret_cast<void*>(address));
    return found == anchored_.end() ? nullptr : found->second;
  }
  ~PyTape() {
    const std::lock_guard<std::mutex> lock(anchored_mutex_);
    anchored_.erase(&mark_);
  }
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
  inline static std::mutex anchored_mutex_;  // no Python is called while it is held
  inline static std::unordered_map<void*, PyTape*> anchored_;
};

class PyEngine {
 public:
  PyEngine(const Spec& spec, py::array params)
      : params_(std::move(params)),
        dtype_(dtype_of(params_, "params")),
        count_(parameter_count(spec)),
        given_(cell_info(spec.cell).given),
        states_(cell_info(spec.cell).states - given_),
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

  // A forward pass for torch: the hidden states of all steps, the final states, and if `keep` the anchor of a tape,
  // which keeps `self`. Nothing is done and None returned if a tensor is not as it should be.
  py::object torch_forward(const py::object& self, py::handle x, const py::tuple& states, const py::tuple& weights,
                           py::handle lengths, py::handle resets, py::handle seed, double dropout, int threads,
                           bool packed, bool time_first, bool keep) {
    Call call = new_call();
    const Spec& s = spec();
    TensorReader reader;
    Batch batch;
    const auto in = reader.view(x, dtype_, packed ? Shape{-1, s.inputs} : Shape{-1, -1, s.inputs});
    if (!in || in->shape[0] < 1 || in->shape[1] < 1) return py::none();
    if (packed)
      call.packed_rows = in->shape[0];
    else
      std::tie(call.batch, call.time) = std::pair(in->shape[time_first ? 1 : 0], in->shape[time_first ? 0 : 1]);
    if (!lengths.is_none()) read_lengths(call, lengths, batch);
    batch.x = by_sequence(*in, call, time_first);
    for (std::size_t i = 0; i < states.size(); ++i) {
      const auto state = reader.view(states[i], dtype_, {s.state_rows(), call.batch, s.hidden});
      if (!state || static_cast<int>(states.size()) != states_) return py::none();
      batch.initial[i] = *state;
    }
    if (!resets.is_none()) batch.resets = flags(resets, "resets", {call.batch, call.time});
    if (!seed.is_none()) {
      batch.drop = true;
      batch.dropout_seed = py::cast<std::uint64_t>(seed);
    }
    const auto own = read_weights(reader, weights);
    if (own.empty()) return py::none();
    batch.weights = own.data();
    batch.dropout = dropout;
    batch.threads = threads;
    batch.check_finite = false;

    py::list made;
    const StepRows steps(call, s.width(), time_first);
    Predictions to;
    to.outputs = steps.rows(add_tensor(made, steps.sizes()));
    for (int i = 0; i < states_; ++i) to.final_state[i] = add_tensor(made, {s.state_rows(), call.batch, s.hidden});
    std::unique_ptr<Tape> tape;
    without_gil([&] {
      if (!keep) return engine_->predict(batch, to);
      tape = engine_->forward(batch);
      tape->hidden(to.outputs);
      for (int i = 0; i < states_; ++i) tape->final_state(i, to.final_state[i]);
    });
    if (keep) {
      PyTape kept(std::move(tape), s, states_, params_.dtype(), this);
      kept.owner = self;
      made.append(PyTape::anchor(py::cast(std::move(kept))));
    }
    return made;
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
      states[static_cast<std::size_t>(s)] =
          array({spec().state_rows(), call.batch, spec().hidden}, to.final_state[given_ + s]);
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

  // Its backward pass: the gradients of x, of the initial states and of the weights, or None for what is not wanted
  py::list torch_backward(const PyTape& tape, py::handle d_output, const py::tuple& d_states, bool x, bool initial,
                          bool time_first) {
    Call call = new_call();
    tape.set_sizes(call);
    const Spec& s = spec();
    TensorReader reader;
    const auto read = [&](py::handle tensor, const Shape& shape) {
      const auto found = reader.view(tensor, dtype_, shape);
      if (!found)
        throw ArgumentError({"a gradient", "has no memory to be read, as with is_grads_batched=True",
                             "a tensor on the CPU of the outputs' dtype and shape"});
      return *found;
    };
    const Shape state{s.state_rows(), call.batch, s.hidden};
    OutputGradients from;
    from.check_finite = false;
    if (!d_output.is_none())
      from.outputs = by_sequence(read(d_output, StepRows(call, s.width(), time_first).sizes()), call, time_first);
    for (std::size_t i = 0; i < static_cast<std::size_t>(states_); ++i)
      if (!d_states[i].is_none()) from.final_state[i] = read(d_states[i], state);

    GradientTargets to;
    py::list made;
    if (x) {
      const StepRows steps(call, s.inputs, time_first);
      to.x = steps.rows(add_tensor(made, steps.sizes()));
    } else {
      made.append(py::none());
    }
    for (int i = 0; i < states_; ++i)
      if (initial)
        to.initial[i] = add_tensor(made, state);
      else
        made.append(py::none());
    const i64 rows = cell_info(s.cell).gates * s.hidden;
    std::vector<TorchWeights<void>> weights(static_cast<std::size_t>(s.state_rows()));
    for (std::size_t i = 0; i < weights.size(); ++i) {
      weights[i].input = add_tensor(made, {rows, inputs_of(i)});
      weights[i].hidden = add_tensor(made, {rows, s.hidden});
      if (!s.bias) continue;
      weights[i].input_bias = add_tensor(made, {rows});
      weights[i].hidden_bias = add_tensor(made, {rows});
    }
    to.weights = weights.data();
    without_gil([&] { engine_->backward(*tape.tape, from, to); });
    return made;
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

  // What Python owns
  PyTrainingData* training_data(py::handle objective, py::handle x, py::handle y, py::handle sample_weight, i64 warmup,
                                py::handle constants, py::handle resets, py::handle lengths, i64 time) {
    need_params();
    return new PyTrainingData(new_call(), this, objective, x, y, sample_weight, warmup, constants, resets, lengths,
                              time);
  }

  // Trains on the batches of `rows` that begin at `starts`; data.done tells how many there were. losses and penalties
  // have a row for each, rates a number, or they are None; draw: the first number of `seed` that dropout and noise
  // have, or 0. crew: which this thread has joined, or None
  void train_batches(PyTrainingData& all, py::handle update, py::handle rows, py::handle starts, i64 size,
                     double seconds, py::handle losses, py::handle penalties, py::handle rates, std::uint64_t seed,
                     std::uint64_t draw, TrainingCrew* crew) {
    struct Use {
      explicit Use(std::atomic<bool>& busy) : busy(busy) {}
      ~Use() { busy.store(false); }
      Use(const Use&) = delete;
      Use& operator=(const Use&) = delete;
      std::atomic<bool>& busy;
    };
    if (all.engine != this || all.busy.exchange(true))
      throw ArgumentError({"the data", "is another model's, or in use"});
    const Use use(all.busy);
    Call call = new_call();
    const auto u = Structure<Update>::read(call, update);
    const auto count = [](py::handle values) { return static_cast<i64>(py::len(values)); };
    const Objective& objective = all.data.objective;
    TrainingCourse course{.size = std::max<i64>(size, 1), .seconds = seconds, .seed = seed, .draw = draw};
    course.sequences = count(rows);
    course.rows = integers(rows, "rows", course.sequences);
    course.batches = count(starts);
    course.starts = integers(starts, "starts", course.batches);
    const i64 columns = objective.losses ? 1 + static_cast<i64>(objective.blocks.size()) : 1;
    course.losses = static_cast<double*>(target(losses, "losses", Dtype::f64, {course.batches, columns}));
    const i64 terms = static_cast<i64>(objective.penalties.size()) + (objective.activity ? 4 : 0);
    if (terms)
      course.penalties = static_cast<double*>(target(penalties, "penalties", Dtype::f64, {course.batches, terms}));
    if (!rates.is_none())
      course.rates = static_cast<const double*>(contiguous(rates, "rates", Dtype::f64, {course.batches}));
    all.done = 0;
    without_gil([&] {
      crew ? crew->train_on_batches(*engine_, all.data, u, course, all.done)
           : train_on_batches(*engine_, all.data, u, course, all.done);
    });
  }

  // (engine, batch, objective, update) of each: its loss, or the exception that its train_step would have raised
  [[gnu::cold]] static py::list train_together(const py::object& given) {
    const py::tuple all(given);  // which stays as it is
    std::vector<TrainingStep> steps(all.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const py::tuple parts(all[i]);
      if (parts.size() != 4) throw ArgumentError({"a step", "has " + std::to_string(parts.size()) + " parts", "4"});
      auto& self = py::cast<PyEngine&>(parts[0]);
      self.need_params();
      Call call = self.new_call();
      TrainingStep& step = steps[i];
      step.engine = self.engine_.get();
      step.batch = Structure<Batch>::read(call, parts[1]);
      step.objective = Structure<Objective>::read(call, parts[2]);
      step.update = Structure<Update>::read(call, parts[3]);
    }
    without_gil([&] { fastbptt::train_together(steps); });
    py::list out;
    for (const TrainingStep& step : steps) {
      try {
        if (step.error) std::rethrow_exception(step.error);
        out.append(step.loss);
        continue;
      } catch (...) {
        py::detail::try_translate_exceptions();
      }
      out.append(py::error_already_set().value());
    }
    return out;
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

  void constrain(py::handle signs, bool reflect, const std::vector<std::tuple<i64, i64, i64, double>>& norms) {
    ConstraintSpec all;
    all.reflect = reflect;
    if (!signs.is_none()) {
      const py::bytes text = py::cast<py::bytes>(signs);
      for (const char one : std::string_view(text)) {
        const auto sign = static_cast<unsigned char>(one);
        if (sign > ConstraintSpec::any) throw ArgumentError({"signs", "hold " + std::to_string(sign), "0 to 3"});
        all.signs.push_back(static_cast<ConstraintSpec::Sign>(sign));
      }
    }
    for (const auto& [from, rows, columns, most] : norms) all.norms.push_back({from, rows, columns, most});
    without_gil([&] { engine_->constrain(std::move(all)); });
  }

  void check_constraints() {
    without_gil([&] { engine_->check_constraints(); });
  }

  void project(bool reflect_signs) {
    need_params();
    without_gil([&] { engine_->project(reflect_signs); });
  }

  i64 memory_needed(i64 batch, i64 time, i64 memory_budget, bool norms, py::handle steps, i64 resets, bool activity) {
    const Size size = checked_size(batch, time, norms, steps, resets, activity);
    return without_gil([&] { return engine_->memory_needed(size, memory_budget); });
  }

  i64 minimum_memory(i64 batch, i64 time, bool norms, py::handle steps, i64 resets, bool activity) {
    const Size size = checked_size(batch, time, norms, steps, resets, activity);
    return without_gil([&] { return engine_->minimum_memory(size); });
  }

  i64 networks_together(i64 batch, i64 time, i64 count) {
    return fastbptt::networks_together(*engine_, batch, time, count);
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
  // Columns of the input weights of a layer direction
  i64 inputs_of(std::size_t direction) const {
    return static_cast<i64>(direction) < spec().directions() ? spec().inputs : spec().width();
  }

  // (T, B, columns) or packed as the core has it
  static Array by_sequence(Array steps, const Call& call, bool time_first) {
    if (call.packed_rows) return packed_steps(call, steps, steps.shape[1]);
    if (time_first) {
      std::swap(steps.shape[0], steps.shape[1]);
      std::swap(steps.strides[0], steps.strides[1]);
    }
    return steps;
  }

  // Of each layer direction weight_ih, weight_hh, and with biases bias_ih, bias_hh; nothing if one is not as it should
  // be
  std::vector<TorchWeights<const void>> read_weights(TensorReader& reader, const py::tuple& all) const {
    const Spec& s = spec();
    const std::size_t each = s.bias ? 4 : 2;
    std::vector<TorchWeights<const void>> read(static_cast<std::size_t>(s.state_rows()));
    if (all.size() != each * read.size()) return {};
    const i64 rows = cell_info(s.cell).gates * s.hidden;
    bool found = true;
    const auto at = [&](std::size_t i, const Shape& shape) {
      const void* data = reader.contiguous(all[i], dtype_, shape);
      found = found && data;
      return data;
    };
    for (std::size_t i = 0; i < read.size(); ++i) {
      read[i] = {at(each * i, {rows, inputs_of(i)}), at(each * i + 1, {rows, s.hidden}), nullptr, nullptr};
      if (!s.bias) continue;
      read[i].input_bias = at(each * i + 2, {rows});
      read[i].hidden_bias = at(each * i + 3, {rows});
    }
    return found ? read : std::vector<TorchWeights<const void>>{};
  }

  void* add_tensor(py::list& made, const Shape& shape) const {
    void* data = nullptr;
    made.append(new_tensor(dtype_, shape, data));
    return data;
  }

  Call new_call() const { return {.spec = spec(), .dtype = dtype_, .parameters = count_, .states = states_}; }

  static Size checked_size(i64 batch, i64 time, bool norms, py::handle steps, i64 resets, bool activity) {
    if (batch < 1 || time < 1)
      throw ArgumentError(
          {"batch and time", "are " + std::to_string(batch) + " and " + std::to_string(time), "at least 1"});
    return {
        .batch = batch, .time = time, .resets = resets, .norms = norms, .steps = steps_of(steps), .activity = activity};
  }

  py::array params_;  // kept alive for the engine
  Dtype dtype_;
  i64 count_;
  int given_, states_;  // the first of the states that callers give, and how many these are
  bool has_params_;     // else each batch brings its weights
  std::unique_ptr<Engine> engine_;
};

py::object torch_forward(const py::object& engine, py::handle x, const py::tuple& states, const py::tuple& weights,
                         py::handle lengths, py::handle resets, py::handle seed, double dropout, int threads,
                         bool packed, bool time_first, bool keep) {
  return engine.cast<PyEngine&>().torch_forward(engine, x, states, weights, lengths, resets, seed, dropout, threads,
                                                packed, time_first, keep);
}

// None if the tape is gone
py::object torch_backward(std::uintptr_t address, py::handle d_output, const py::tuple& d_states, bool x, bool initial,
                          bool time_first) {
  PyTape* tape = PyTape::at(address);
  if (!tape) return py::none();
  const py::object kept = py::cast(tape);  // while the GIL is released
  return tape->owner.cast<PyEngine&>().torch_backward(*tape, d_output, d_states, x, initial, time_first);
}

}  // namespace

void register_engine(py::module_& m) {
  using py::arg;
  m.def("torch_forward", &torch_forward, arg("engine"), arg("x"), arg("states"), arg("weights"), arg("lengths"),
        arg("resets"), arg("seed"), arg("dropout"), arg("threads"), arg("packed"), arg("time_first"), arg("keep"));
  m.def("torch_backward", &torch_backward, arg("address"), arg("d_output"), arg("d_states"), arg("x"), arg("initial"),
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
      .def("training_data", &PyEngine::training_data, arg("objective"), arg("x"), arg("y"), arg("sample_weight"),
           arg("warmup"), arg("static"), arg("resets"), arg("lengths"), arg("time"))
      .def("train_batches", &PyEngine::train_batches, arg("data"), arg("update"), arg("rows"), arg("starts"),
           arg("size"), arg("seconds"), arg("losses"), arg("penalties"), arg("rates"), arg("seed"), arg("draw"),
           arg("crew"))
      .def("step", &PyEngine::step, arg("x"), arg("state"), arg("y"), arg("check_finite"), arg("resets") = py::none())
      .def("update", &PyEngine::update, arg("update"), arg("grad"), arg("check_finite"))
      .def("freeze", &PyEngine::freeze, arg("names"))
      .def("constrain", &PyEngine::constrain, arg("signs"), arg("reflect"), arg("norms"))
      .def("check_constraints", &PyEngine::check_constraints)
      .def("project", &PyEngine::project, arg("reflect_signs"))
      .def("memory_needed", &PyEngine::memory_needed, arg("batch"), arg("time"), arg("memory_budget"), arg("norms"),
           arg("steps"), arg("resets"), arg("activity"))
      .def("minimum_memory", &PyEngine::minimum_memory, arg("batch"), arg("time"), arg("norms"), arg("steps"),
           arg("resets"), arg("activity"))
      .def("report", &PyEngine::report)
      .def("networks_together", &PyEngine::networks_together, arg("batch"), arg("time"), arg("count"))
      .def("set_params", &PyEngine::set_params, arg("values"))
      .def("get_params", &PyEngine::get_params);
  m.def("train_together", &PyEngine::train_together, arg("steps"));
}

}  // namespace fastbptt::bindings
