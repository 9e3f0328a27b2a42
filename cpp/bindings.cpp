// The Python module: array views, the GIL, and the checks that keep memory safe. Policy and messages live in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <optional>
#include <thread>

#include "dispatch.h"
#include "engine.h"
#include "gather.h"
#include "thread_pool.h"

namespace py = pybind11;

namespace {

using namespace fastbptt;
using Optional = std::optional<py::array>;
using Tuple = std::optional<py::tuple>;
using Seed = std::optional<std::uint64_t>;
using Arrays = std::optional<std::map<std::string, py::array>>;

// --------------------------------------------------------------------------------------------------- the GIL

// A daemon thread that asks for the GIL while the interpreter goes away is unwound or hung by Python at a point where
// C++ cannot be left. So at exit no call gets the GIL back any more but in the thread that is closing down: the others
// stop here, for good.
std::atomic<bool> closing{false};
std::thread::id closer;
std::atomic<int> returning{0};

// Runs work without the GIL; arrays must have been turned into views before.
template <class F>
auto without_gil(const F& work) {
  struct Return {
    PyThreadState* state = PyEval_SaveThread();
    Return() = default;
    Return(const Return&) = delete;
    Return& operator=(const Return&) = delete;
    ~Return() {
      returning.fetch_add(1);
      if (closing.load() && closer != std::this_thread::get_id()) {
        returning.fetch_sub(1);
        for (;;) pause();
      }
      PyEval_RestoreThread(state);
      returning.fetch_sub(1);
    }
  } back;
  return work();
}

void close_gil() {
  closer = std::this_thread::get_id();
  closing.store(true);
  const py::gil_scoped_release release;  // those already on their way back come through first
  for (Backoff b; returning.load() > 0;) b.wait();
}

// ------------------------------------------------------------------------------------------------- array views

Dtype dtype_of(const py::array& a, const char* name) {
  if (py::isinstance<py::array_t<float>>(a)) return Dtype::f32;
  if (py::isinstance<py::array_t<double>>(a)) return Dtype::f64;
  if (py::isinstance<py::array_t<i64>>(a)) return Dtype::i64;
  throw py::type_error(std::string(name) + " has dtype " + std::string(py::str(py::object(a.dtype()))) +
                       "; expected float32, float64 or int64");
}

[[noreturn]] void wrong_shape(const char* name, const py::array& a, const std::vector<i64>& expected) {
  const std::vector<i64> got(a.shape(), a.shape() + a.ndim());
  const py::str text =
      py::str("{} has shape {}; expected {}").format(name, py::tuple(py::cast(got)), py::tuple(py::cast(expected)));
  throw py::value_error(text);
}

Array view(const py::array& a, const char* name, const std::vector<i64>& expected) {
  Array out;
  out.data = a.data();
  out.dtype = dtype_of(a, name);
  if (a.ndim() != static_cast<py::ssize_t>(expected.size())) wrong_shape(name, a, expected);
  const auto size = static_cast<std::uintptr_t>(a.itemsize());
  bool aligned = reinterpret_cast<std::uintptr_t>(out.data) % size == 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto axis = static_cast<py::ssize_t>(i);
    if (a.shape(axis) != expected[i]) wrong_shape(name, a, expected);
    out.shape[i] = a.shape(axis);
    out.strides[i] = expected[i] > 1 ? a.strides(axis) : 0;  // of no meaning where there is one
    aligned = aligned && out.strides[i] % static_cast<i64>(size) == 0;
  }
  if (!aligned) throw py::value_error(std::string(name) + " is misaligned");
  return out;
}

Array view(const Optional& a, const char* name, const std::vector<i64>& expected) {
  return a ? view(*a, name, expected) : Array{};
}

void only(const Array& a, const char* name, std::initializer_list<Dtype> allowed) {
  if (!a) return;
  for (const Dtype d : allowed)
    if (a.dtype == d) return;
  throw py::type_error(std::string(name) + " has the wrong dtype");
}

// Memory that is written to
void* target(py::array& a, const char* name, Dtype dtype, const std::vector<i64>& expected) {
  const Array v = view(a, name, expected);
  only(v, name, {dtype});
  if (!a.writeable() || !(a.flags() & py::array::c_style))
    throw py::value_error(std::string(name) + " must be writable and contiguous");
  return a.mutable_data();
}

// ------------------------------------------------------------------------------------------------------ engine

class PyOptimizer {
 public:
  PyOptimizer(const std::string& rule, const py::dict& slots, const py::dict& settings) : state(rule) {
    for (const auto& [name, values] : slots) {
      const auto label = py::cast<std::string>(name);
      auto a = py::cast<py::array>(values);
      const Dtype dtype = dtype_of(a, label.c_str());
      const auto size = static_cast<i64>(a.size());
      if (!arrays_.empty() && (dtype != dtype_ || size != size_))
        throw py::value_error("slots must have one size and dtype");
      dtype_ = dtype;
      size_ = size;
      state.attach(label, target(a, label.c_str(), dtype, {size}));
      arrays_.push_back(std::move(a));
    }
    for (const auto& [name, value] : settings) state.set(py::cast<std::string>(name), py::cast<double>(value));
    state.check();
  }
  OptimizerState& checked(Dtype dtype, i64 size) {
    if (!arrays_.empty() && (dtype != dtype_ || size != size_))
      throw py::value_error("optimizer belongs to a model of another size or dtype");
    return state;
  }
  OptimizerState state;

 private:
  std::vector<py::array> arrays_;  // kept alive for the state
  Dtype dtype_ = Dtype::f32;
  i64 size_ = 0;
};

class PyTape {
 public:
  PyTape(std::unique_ptr<Tape> tape, Spec spec, int states, py::dtype dtype, const void* engine)
      : tape(std::move(tape)), engine(engine), spec_(std::move(spec)), states_(states), dtype_(std::move(dtype)) {}

  py::array outputs() const {
    return filled({tape->batch(), tape->time(), spec_.output_width()}, [this](void* out) { tape->outputs(out); });
  }
  py::array hidden() const {
    return filled({tape->batch(), tape->time(), spec_.width()}, [this](void* out) { tape->hidden(out); });
  }
  py::array last() const {
    return filled({tape->batch(), spec_.output_width()}, [this](void* out) { tape->last(out); });
  }
  py::tuple final_state() const {
    py::tuple all(states_);
    for (int s = 0; s < states_; ++s)
      all[static_cast<std::size_t>(s)] = filled({spec_.state_rows(), tape->batch(), spec_.hidden},
                                                [this, s](void* out) { tape->final_state(s, out); });
    return all;
  }

  std::unique_ptr<Tape> tape;
  const void* engine;  // whose it is

 private:
  template <class F>
  py::array filled(std::vector<py::ssize_t> shape, const F& fill) const {
    py::array out(dtype_, std::move(shape));
    void* data = out.mutable_data();
    without_gil([&] { fill(data); });
    return out;
  }
  Spec spec_;
  int states_;
  py::dtype dtype_;
};

template <class E>
E choice(const std::string& value, const char* name, std::initializer_list<std::pair<const char*, E>> all) {
  std::string known;
  for (const auto& [text, e] : all) {
    if (value == text) return e;
    known += (known.empty() ? "'" : ", '") + std::string(text) + "'";
  }
  throw py::value_error(std::string(name) + " is '" + value + "'; expected one of " + known);
}

class PyEngine {
 public:
  PyEngine(const Spec& spec, py::array params)
      : params_(std::move(params)),
        dtype_(dtype_of(params_, "params")),
        count_(parameter_count(spec)),
        states_(cell_info(spec.cell).states),
        engine_(make_engine(spec, dtype_, target(params_, "params", dtype_, {count_}))) {}

  PyTape forward(const py::array& x, const Optional& lengths, const Tuple& initial, const Seed& dropout_seed,
                 bool check_finite) {
    const Batch b = batch(x, lengths, initial, dropout_seed, check_finite);
    auto tape = without_gil([&] { return engine_->forward(b); });
    return {std::move(tape), spec(), states_, params_.dtype(), this};
  }

  void backward(PyTape& tape, const Optional& d_outputs, const Tuple& d_final, const Optional& d_last, py::array grad,
                std::optional<py::array> dx, const Tuple& d_initial, bool check_finite) {
    if (tape.engine != this) throw py::value_error("the forward result belongs to another model");
    const i64 b = tape.tape->batch(), t = tape.tape->time();
    const Array outer = floats(d_outputs, "d_outputs", {b, t, spec().output_width()});
    const Array last = floats(d_last, "d_last", {b, spec().output_width()});
    Array final_state[CellInfo::most_states];
    states(d_final, "d_final_state", b, final_state);
    const GradientTargets out = gradients(grad, dx, d_initial, b, t);
    without_gil(
        [&] { engine_->backward(*tape.tape, outer, last, d_final ? final_state : nullptr, out, check_finite); });
  }

  double loss(const py::array& x, const py::array& y, const std::string& loss, const std::string& steps,
              const std::string& reduction, const Optional& lengths, const Tuple& initial,
              const Optional& sample_weight, const Seed& dropout_seed, bool check_finite) {
    const Batch b = batch(x, lengths, initial, dropout_seed, check_finite);
    const Objective o = objective(b, y, loss, steps, reduction, sample_weight);
    return without_gil([&] { return engine_->loss(b, o); });
  }

  double loss_and_grad(const py::array& x, const py::array& y, const std::string& loss, const std::string& steps,
                       const std::string& reduction, const Optional& lengths, const Tuple& initial,
                       const Optional& sample_weight, const Seed& dropout_seed, bool check_finite, py::array grad,
                       std::optional<py::array> dx, const Tuple& d_initial, i64 memory_budget, const Arrays& record) {
    const Batch b = batch(x, lengths, initial, dropout_seed, check_finite);
    const Objective o = objective(b, y, loss, steps, reduction, sample_weight);
    GradientTargets out = gradients(grad, dx, d_initial, b.x.shape[0], b.x.shape[1]);
    out.record = recorded(record, o, b.x.shape[0], b.x.shape[1]);
    return without_gil([&] { return engine_->loss_and_grad(b, o, out, memory_budget); });
  }

  double train_step(const py::array& x, const py::array& y, const std::string& loss, const std::string& steps,
                    const std::string& reduction, const Optional& lengths, const Tuple& initial,
                    const Optional& sample_weight, const Seed& dropout_seed, bool check_finite, PyOptimizer& optimizer,
                    double clip_norm, double clip_value, i64 memory_budget, const Tuple& final, const Arrays& record) {
    const Batch b = batch(x, lengths, initial, dropout_seed, check_finite);
    const Objective o = objective(b, y, loss, steps, reduction, sample_weight);
    OptimizerState& a = optimizer.checked(dtype_, count_);
    const Clip clip{clip_value, clip_norm};
    void* out[CellInfo::most_states] = {};
    targets(final, "final", {spec().state_rows(), b.x.shape[0], spec().hidden}, out);
    const Probes r = recorded(record, o, b.x.shape[0], b.x.shape[1]);
    return without_gil([&] { return engine_->train_step(b, o, a, clip, memory_budget, final ? out : nullptr, r); });
  }

  void step(const py::array& x, const py::tuple& state, py::array y, bool check_finite) {
    if (x.ndim() < 1) throw py::value_error("x must have a batch axis");
    const i64 b = x.shape(0);
    const Array in = tokens() ? view(x, "x", {b}) : view(x, "x", {b, spec().inputs});
    if (tokens())
      only(in, "x", {Dtype::i64});
    else
      only(in, "x", {Dtype::f32, Dtype::f64});
    void* out[CellInfo::most_states] = {};
    targets(state, "state", {spec().state_rows(), b, spec().hidden}, out);
    void* to = target(y, "y", dtype_, {b, spec().output_width()});
    without_gil([&] { engine_->step(in, out, to, check_finite); });
  }

  void update(PyOptimizer& optimizer, const py::array& grad, bool check_finite) {
    const void* g = flat(grad, "grad");
    OptimizerState& a = optimizer.checked(dtype_, count_);
    without_gil([&] { engine_->update(a, g, check_finite); });
  }

  void freeze(const std::vector<std::string>& names) {
    without_gil([&] { engine_->freeze(names); });
  }

  i64 memory_needed(i64 batch, i64 time, i64 memory_budget) {
    if (batch < 1 || time < 1) throw py::value_error("batch and time must be at least 1");
    return without_gil([&] { return engine_->memory_needed(batch, time, memory_budget); });
  }

  i64 minimum_memory(i64 batch, i64 time) {
    if (batch < 1 || time < 1) throw py::value_error("batch and time must be at least 1");
    return without_gil([&] { return engine_->minimum_memory(batch, time); });
  }

  py::tuple report() const {
    const MemoryReport r = engine_->report();
    return py::make_tuple(r.segments, r.bytes, r.seconds, r.recompute_seconds);
  }

  void set_params(const py::array& values) {
    const void* v = flat(values, "values");
    without_gil([&] { engine_->set_params(v); });
  }

  py::array get_params() {
    py::array out(params_.dtype(), std::vector<py::ssize_t>{static_cast<py::ssize_t>(count_)});
    void* data = out.mutable_data();
    without_gil([&] { engine_->get_params(data); });
    return out;
  }

 private:
  const Spec& spec() const { return engine_->spec(); }
  bool tokens() const { return spec().vocabulary > 0; }

  const void* flat(const py::array& a, const char* name) const {
    const Array v = view(a, name, {count_});
    only(v, name, {dtype_});
    if (!(a.flags() & py::array::c_style)) throw py::value_error(std::string(name) + " must be contiguous");
    return v.data;
  }

  static Array floats(const Optional& a, const char* name, const std::vector<i64>& shape) {
    const Array v = view(a, name, shape);
    only(v, name, {Dtype::f32, Dtype::f64});
    return v;
  }

  void check_count(const py::tuple& all, const char* name) const {
    if (static_cast<int>(all.size()) != states_)
      throw py::value_error(std::string(name) + " must hold " + std::to_string(states_) + " arrays");
  }

  // One array, or None, for each state
  void states(const Tuple& all, const char* name, i64 b, Array* out) const {
    if (!all) return;
    check_count(*all, name);
    for (std::size_t s = 0; s < all->size(); ++s) {
      const py::object item = (*all)[s];
      if (!item.is_none()) out[s] = floats(py::cast<py::array>(item), name, {spec().state_rows(), b, spec().hidden});
    }
  }

  // One writable array for each state
  void targets(const Tuple& all, const char* name, const std::vector<i64>& shape, void** out) const {
    if (!all) return;
    check_count(*all, name);
    for (std::size_t s = 0; s < all->size(); ++s) {
      auto a = py::reinterpret_borrow<py::array>(py::object((*all)[s]));
      if (!py::isinstance<py::array>(a)) throw py::type_error(std::string(name) + " must hold arrays");
      out[s] = target(a, name, dtype_, shape);
    }
  }

  Batch batch(const py::array& x, const Optional& lengths, const Tuple& initial, const Seed& dropout_seed,
              bool check_finite) const {
    if (x.ndim() != (tokens() ? 2 : 3))
      throw py::value_error(tokens() ? "x must have two dimensions" : "x must have three dimensions");
    const i64 b = x.shape(0), t = x.shape(1);
    Batch out;
    out.x = tokens() ? view(x, "x", {b, t}) : view(x, "x", {b, t, spec().inputs});
    if (tokens())
      only(out.x, "x", {Dtype::i64});
    else
      only(out.x, "x", {Dtype::f32, Dtype::f64});
    if (b < 1 || t < 1) throw py::value_error("x is empty");
    if (lengths) {
      const Array v = view(*lengths, "lengths", {b});
      only(v, "lengths", {Dtype::i64});
      if (b > 1 && v.strides[0] != i64(sizeof(i64))) throw py::value_error("lengths must be contiguous");
      out.lengths = static_cast<const i64*>(v.data);
      for (i64 i = 0; i < b; ++i)
        if (out.lengths[i] < 1 || out.lengths[i] > t) throw py::value_error("lengths must be from 1 to the time axis");
    }
    states(initial, "h0", b, out.initial);
    out.drop = dropout_seed.has_value();
    out.dropout_seed = dropout_seed.value_or(0);
    out.check_finite = check_finite;
    return out;
  }

  Objective objective(const Batch& b, const py::array& y, const std::string& loss, const std::string& steps,
                      const std::string& reduction, const Optional& sample_weight) const {
    Objective o;
    o.loss =
        choice<Loss>(loss, "loss", {{"bce", Loss::bce}, {"cross_entropy", Loss::cross_entropy}, {"mse", Loss::mse}});
    o.steps = choice<Steps>(steps, "steps", {{"last", Steps::last}, {"all", Steps::all}});
    o.reduction = choice<Reduction>(
        reduction, "reduction",
        {{"sum", Reduction::sum}, {"mean", Reduction::mean}, {"sequence_mean", Reduction::sequence_mean}});
    std::vector<i64> shape{b.x.shape[0]};
    if (o.steps == Steps::all) shape.push_back(b.x.shape[1]);
    if (o.loss != Loss::cross_entropy) shape.push_back(spec().output_width());
    o.y = view(y, "y", shape);
    if (o.loss == Loss::cross_entropy)
      only(o.y, "y", {Dtype::i64});
    else
      only(o.y, "y", {Dtype::f32, Dtype::f64});
    o.sample_weight = view(sample_weight, "sample_weight", {b.x.shape[0]});
    only(o.sample_weight, "sample_weight", {Dtype::f64});
    return o;
  }

  GradientTargets gradients(py::array& grad, std::optional<py::array>& dx, const Tuple& d_initial, i64 b, i64 t) const {
    GradientTargets g;
    g.parameters = target(grad, "grad", dtype_, {count_});
    if (dx && tokens()) throw py::value_error("tokens have no gradient");
    if (dx) g.x = target(*dx, "dx", dtype_, {b, t, spec().inputs});
    targets(d_initial, "d_initial", {spec().state_rows(), b, spec().hidden}, g.initial);
    return g;
  }

  // Arrays of zeros by the names of Probes' members; others are not wanted
  Probes recorded(const Arrays& arrays, const Objective& o, i64 b, i64 t) const {
    Probes out;
    if (!arrays) return out;
    const i64 directions = spec().state_rows(), h = spec().hidden, width = spec().output_width();
    const CellInfo& info = cell_info(spec().cell);
    std::size_t found = 0;
    const auto to = [&](const char* name, Dtype dtype, const std::vector<i64>& shape) -> void* {
      const auto at = arrays->find(name);
      if (at == arrays->end()) return nullptr;
      ++found;
      py::array a = at->second;
      return flat_target(a, name, dtype, shape);
    };
    out.hidden = static_cast<double*>(to("hidden", Dtype::f64, {directions, t}));
    out.gates = static_cast<double*>(to("gates", Dtype::f64, {directions, t}));
    out.d_hidden = to("d_hidden", dtype_, {directions, b, t, h});
    out.d_gates = to("d_gates", dtype_, {directions, info.preactivations, b, t, h});
    out.saved = to("saved", dtype_, {directions, info.saved, b, t, h});
    out.outputs = to("outputs", dtype_, {b, o.steps == Steps::all ? t : 1, width});
    out.norm = static_cast<double*>(to("norm", Dtype::f64, {1}));
    if (found != arrays->size()) throw py::value_error("record names an array that there is not");
    return out;
  }

  // Of any number of dimensions
  static void* flat_target(py::array& a, const char* name, Dtype dtype, const std::vector<i64>& shape) {
    if (std::vector<i64>(a.shape(), a.shape() + a.ndim()) != shape) wrong_shape(name, a, shape);
    if (dtype_of(a, name) != dtype) throw py::type_error(std::string(name) + " has the wrong dtype");
    if (!a.writeable() || !(a.flags() & py::array::c_style))
      throw py::value_error(std::string(name) + " must be writable and contiguous");
    return a.mutable_data();
  }

  py::array params_;  // kept alive for the engine
  Dtype dtype_;
  i64 count_;
  int states_;
  std::unique_ptr<Engine> engine_;
};

// ----------------------------------------------------------------------------------------------------- sequences

// Arrays of one dtype and one number of columns, each a sequence; or one array of sequences. They are kept alive.
class PySequences {
 public:
  PySequences(const py::array& all, const Optional& lengths)
      : kept_(py::make_tuple(all)),
        dtype_(real(all.dtype())),
        axes_(all.ndim()),
        sequences_(itemsize(), columns(all, 2)) {
    if (axes_ < 1 || axes_ > 3) throw py::value_error("sequences must have one to three dimensions");
    const i64 n = all.shape(0), time = axes_ > 1 ? all.shape(1) : 1;
    const i64* own = nullptr;
    if (lengths) {
      const Array v = view(*lengths, "lengths", {n});
      only(v, "lengths", {Dtype::i64});
      if (n > 1 && v.strides[0] != i64(sizeof(i64))) throw py::value_error("lengths must be contiguous");
      own = static_cast<const i64*>(v.data);
    }
    for (i64 i = 0; i < n; ++i) {
      const i64 steps = own ? own[i] : time;
      if (steps < 0 || steps > time) throw py::value_error("lengths must be from 0 to the time axis");
      add(all, static_cast<const std::byte*>(all.data()) + i * all.strides(0), steps, 1);
    }
  }

  explicit PySequences(const py::list& all)
      : kept_(all),
        dtype_(real(item(0).dtype())),
        axes_(item(0).ndim() + 1),
        sequences_(itemsize(), columns(item(0), 1)) {
    if (axes_ < 2 || axes_ > 3) throw py::value_error("each sequence must have one or two dimensions");
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      const py::array one = item(i);
      if (!same(one.dtype()) || one.ndim() + 1 != axes_ || columns(one, 1) != sequences_.columns())
        throw py::value_error("sequences must have one dtype and one number of columns");
      add(one, one.data(), one.shape(0), 0);
    }
  }

  void gather(const py::array& rows, py::array out) const {
    if (rows.ndim() != 1) throw py::value_error("rows must have one dimension");
    const i64 n = rows.shape(0);
    const Array which = view(rows, "rows", {n});
    only(which, "rows", {Dtype::i64});
    if (n > 1 && which.strides[0] != i64(sizeof(i64))) throw py::value_error("rows must be contiguous");
    if (!same(out.dtype())) throw py::type_error("out has another dtype than the sequences");
    if (out.ndim() != axes_ || out.shape(0) != n || (axes_ > 2 && out.shape(2) != sequences_.columns()))
      throw py::value_error("out has the wrong shape");
    if (!out.writeable() || !(out.flags() & py::array::c_style))
      throw py::value_error("out must be writable and contiguous");
    const i64 time = axes_ > 1 ? out.shape(1) : 1;
    void* to = out.mutable_data();
    without_gil([&] { sequences_.gather(static_cast<const i64*>(which.data), n, time, to); });
  }

  i64 count() const { return sequences_.count(); }

 private:
  static py::dtype real(py::dtype d) {
    if (std::string("fiub").find(d.kind()) == std::string::npos)
      throw py::type_error("sequences must hold real numbers");
    return d;
  }
  bool same(const py::dtype& d) const { return d.is(dtype_) || d.equal(dtype_); }
  i64 itemsize() const { return static_cast<i64>(dtype_.itemsize()); }
  py::array item(std::size_t i) const {
    if (i >= kept_.size()) throw py::value_error("there are no sequences");
    const py::object one = kept_[i];
    if (!py::isinstance<py::array>(one)) throw py::type_error("sequences must be arrays");
    return py::reinterpret_borrow<py::array>(one);
  }
  // Elements per step: the axis after that of steps, if there is one
  static i64 columns(const py::array& a, int axis) { return a.ndim() > axis ? a.shape(axis) : 1; }
  void add(const py::array& a, const void* data, i64 steps, int steps_axis) {
    const auto stride = [&](int axis) { return a.ndim() > axis ? i64(a.strides(axis)) : itemsize(); };
    sequences_.add(data, steps, stride(steps_axis), stride(steps_axis + 1));
  }

  py::tuple kept_;
  py::dtype dtype_;
  py::ssize_t axes_;
  Sequences sequences_;
};

py::array tanh_of(const py::array& x) {
  const i64 n = x.size();
  const Array v = view(x, "x", {n});
  if (!(x.flags() & py::array::c_style)) throw py::value_error("x must be contiguous");
  py::array out(x.dtype(), std::vector<py::ssize_t>{static_cast<py::ssize_t>(n)});
  if (v.dtype == Dtype::f32)
    kernels_of<float>(active()).tanh(static_cast<const float*>(v.data), static_cast<float*>(out.mutable_data()), n);
  else if (v.dtype == Dtype::f64)
    kernels_of<double>(active()).tanh(static_cast<const double*>(v.data), static_cast<double*>(out.mutable_data()), n);
  else
    throw py::type_error("x must be float32 or float64");
  return out;
}

// Multiply-adds out of registers in the active instruction set; returns operations per second
double multiply_add_rate(const std::string& dtype, i64 rounds) {
  if (rounds < 1) throw py::value_error("rounds must be at least 1");
  const auto measure = [&](auto zero) {
    using T = decltype(zero);
    T sink[64];
    for (int i = 0; i < 64; ++i) sink[i] = T(1) - T(i) / 1024;
    const auto start = std::chrono::steady_clock::now();
    const double operations = kernels_of<T>(active()).multiply_adds(rounds, sink);
    return operations / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (dtype == "float32") return without_gil([&] { return measure(float{}); });
  if (dtype == "float64") return without_gil([&] { return measure(double{}); });
  throw py::value_error("dtype must be float32 or float64");
}

// ------------------------------------------------------------------------------------------------------ the module

py::dict describe(const std::string& cell) {
  const CellInfo& info = cell_info(cell);
  py::list states, extra_bias;
  for (int s = 0; s < info.states; ++s) states.append(info.state_names[s]);
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
  out["states"] = states;
  out["setting"] = info.setting ? py::object(py::str(info.setting)) : py::object(py::none());
  out["extra_bias"] = extra_bias;
  return out;
}

void bind_spec(py::module_& m) {
  using py::arg;
  py::class_<Spec>(m, "Spec")
      .def(py::init([](std::string cell, i64 inputs, i64 hidden, i64 outputs, bool bias, i64 layers, bool bidirectional,
                       double dropout, double setting, bool learn_state, i64 vocabulary, i64 padding_index,
                       bool freeze_embedding, bool bfloat16) {
             Spec spec;
             spec.cell = std::move(cell);
             spec.inputs = inputs;
             spec.hidden = hidden;
             spec.outputs = outputs;
             spec.bias = bias;
             spec.layers = layers;
             spec.bidirectional = bidirectional;
             spec.dropout = dropout;
             spec.setting = setting;
             spec.learn_state = learn_state;
             spec.vocabulary = vocabulary;
             spec.padding_index = padding_index;
             spec.freeze_embedding = freeze_embedding;
             spec.bfloat16 = bfloat16;
             layout(spec);  // throws if it is not a network
             return spec;
           }),
           arg("cell"), arg("input_size"), arg("hidden_size"), arg("output_size") = 0, py::kw_only(),
           arg("bias") = true, arg("num_layers") = 1, arg("bidirectional") = false, arg("dropout") = 0.0,
           arg("setting") = 0.0, arg("learn_state") = false, arg("vocabulary") = 0, arg("padding_index") = -1,
           arg("freeze_embedding") = false, arg("bfloat16") = false)
      .def_readonly("cell", &Spec::cell)
      .def_readonly("input_size", &Spec::inputs)
      .def_readonly("hidden_size", &Spec::hidden)
      .def_readonly("output_size", &Spec::outputs)
      .def_readonly("bias", &Spec::bias)
      .def_readonly("num_layers", &Spec::layers)
      .def_readonly("bidirectional", &Spec::bidirectional)
      .def_readonly("dropout", &Spec::dropout)
      .def_readonly("setting", &Spec::setting)
      .def_readonly("learn_state", &Spec::learn_state)
      .def_readonly("vocabulary", &Spec::vocabulary)
      .def_readonly("padding_index", &Spec::padding_index)
      .def_readonly("freeze_embedding", &Spec::freeze_embedding)
      .def_readonly("bfloat16", &Spec::bfloat16);
  m.def(
      "layout",
      [](const Spec& spec) {
        py::list all;
        for (const Parameter& p : layout(spec))
          all.append(py::make_tuple(p.name, py::tuple(py::cast(p.shape)), p.offset));
        return all;
      },
      arg("spec"));
  m.def("cells", &cell_names);
  m.def("cell_info", &describe, arg("name"));
}

void bind_engine(py::module_& m) {
  using py::arg;
  py::class_<PyTape>(m, "Tape")
      .def_property_readonly("outputs", &PyTape::outputs)
      .def_property_readonly("hidden", &PyTape::hidden)
      .def_property_readonly("last", &PyTape::last)
      .def_property_readonly("final_state", &PyTape::final_state)
      .def_property_readonly("batch", [](const PyTape& t) { return t.tape->batch(); })
      .def_property_readonly("time", [](const PyTape& t) { return t.tape->time(); });
  py::class_<PyEngine>(m, "Engine")
      .def(py::init<const Spec&, py::array>(), arg("spec"), arg("params"))
      .def("forward", &PyEngine::forward, arg("x"), arg("lengths"), arg("initial"), arg("dropout_key"),
           arg("check_finite"))
      .def("backward", &PyEngine::backward, arg("tape"), arg("d_outputs"), arg("d_final"), arg("d_last"), arg("grad"),
           arg("dx"), arg("d_initial"), arg("check_finite"))
      .def("loss", &PyEngine::loss, arg("x"), arg("y"), arg("loss"), arg("steps"), arg("reduction"), arg("lengths"),
           arg("initial"), arg("sample_weight"), arg("dropout_key"), arg("check_finite"))
      .def("loss_and_grad", &PyEngine::loss_and_grad, arg("x"), arg("y"), arg("loss"), arg("steps"), arg("reduction"),
           arg("lengths"), arg("initial"), arg("sample_weight"), arg("dropout_key"), arg("check_finite"), arg("grad"),
           arg("dx"), arg("d_initial"), arg("memory_budget"), arg("record") = py::none())
      .def("train_step", &PyEngine::train_step, arg("x"), arg("y"), arg("loss"), arg("steps"), arg("reduction"),
           arg("lengths"), arg("initial"), arg("sample_weight"), arg("dropout_key"), arg("check_finite"),
           arg("optimizer"), arg("clip_norm"), arg("clip_value"), arg("memory_budget"), arg("final"),
           arg("record") = py::none())
      .def("step", &PyEngine::step, arg("x"), arg("state"), arg("y"), arg("check_finite"))
      .def("update", &PyEngine::update, arg("optimizer"), arg("grad"), arg("check_finite"))
      .def("freeze", &PyEngine::freeze, arg("names"))
      .def("memory_needed", &PyEngine::memory_needed, arg("batch"), arg("time"), arg("memory_budget") = 0)
      .def("minimum_memory", &PyEngine::minimum_memory, arg("batch"), arg("time"))
      .def("report", &PyEngine::report)
      .def("set_params", &PyEngine::set_params, arg("values"))
      .def("get_params", &PyEngine::get_params);
  m.def("losses", [] { return std::vector<std::string>{"bce", "cross_entropy", "mse"}; });
  m.def("tanh", &tanh_of, arg("x"));
}

void bind_sequences(py::module_& m) {
  using py::arg;
  py::class_<PySequences>(m, "Sequences")
      .def(py::init<const py::list&>(), arg("sequences"))
      .def(py::init<const py::array&, const Optional&>(), arg("sequences"), arg("lengths") = py::none())
      .def("gather", &PySequences::gather, arg("rows"), arg("out"))
      .def("__len__", &PySequences::count);
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

void bind_optimizers(py::module_& m) {
  py::class_<PyOptimizer>(m, "OptimizerState")
      .def(py::init<const std::string&, const py::dict&, const py::dict&>(), py::arg("rule"), py::arg("slots"),
           py::arg("settings"))
      .def_property(
          "step", [](const PyOptimizer& o) { return o.state.step; }, [](PyOptimizer& o, i64 n) { o.state.step = n; })
      .def(
          "set", [](PyOptimizer& o, const std::string& setting, double value) { o.state.set(setting, value); },
          py::arg("setting"), py::arg("value"));
  m.def("optimizers", &optimizer_names);
  m.def("optimizer_info", &describe_optimizer, py::arg("rule"));
}

void bind_machine(py::module_& m) {
  m.def("backends", [] {
    py::list all;
    for (const Backend& b : backends()) all.append(py::make_tuple(b.name, b.description, b.usable));
    return all;
  });
  m.def("bfloat16_backends", &bfloat16_names);
  m.def("active_backend", [] { return active().name; });
  m.def("use_backend", &use, py::arg("name"));
  m.def("proof_of_backend", &proof_of_backend);
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def("get_num_threads", &get_num_threads);
  m.def("multiply_add_rate", &multiply_add_rate, py::arg("dtype"), py::arg("rounds"));
  m.attr("compiler") = FASTBPTT_COMPILER;
  m.attr("version") = FASTBPTT_VERSION;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  // A fork copies the count of threads on their way back, but not the threads; the one that forks holds the GIL.
  static const int at_fork = pthread_atfork(nullptr, nullptr, [] {
    returning.store(0);
    closing.store(false);
  });
  (void)at_fork;
  active();  // a wrong FASTBPTT_ISA is an error of the import
  bind_spec(m);
  bind_engine(m);
  bind_sequences(m);
  bind_optimizers(m);
  bind_machine(m);
  py::module_::import("atexit").attr("register")(py::cpp_function(&close_gil));
}
