// The Python module: array views, the GIL, and the checks that keep memory safe. Policy and messages live in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "dispatch.h"
#include "engine.h"
#include "pool.h"

namespace py = pybind11;

namespace {

using namespace fastbptt;
using Optional = std::optional<py::array>;

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

class PyAdam {
 public:
  PyAdam(py::array m, py::array v) : m_(std::move(m)), v_(std::move(v)), dtype_(dtype_of(m_, "m")) {
    size_ = static_cast<i64>(m_.size());
    state.m = target(m_, "m", dtype_, {size_});
    state.v = target(v_, "v", dtype_, {size_});
  }
  AdamState& checked(Dtype dtype, i64 size) {
    if (dtype != dtype_ || size != size_)
      throw py::value_error("optimizer belongs to a model of another size or dtype");
    return state;
  }
  AdamState state;

 private:
  py::array m_, v_;
  Dtype dtype_;
  i64 size_ = 0;
};

class PyTape {
 public:
  PyTape(std::unique_ptr<Tape> tape, i64 columns, i64 hidden, py::dtype dtype, const void* engine)
      : tape(std::move(tape)), engine(engine), columns_(columns), hidden_(hidden), dtype_(std::move(dtype)) {}

  py::array outputs() const { return filled({tape->batch(), tape->time(), columns_}, &Tape::outputs); }
  py::array hidden() const { return filled({tape->batch(), tape->time(), hidden_}, &Tape::hidden); }
  py::array final_state() const { return filled({1, tape->batch(), hidden_}, &Tape::final_state); }

  std::unique_ptr<Tape> tape;
  const void* engine;  // whose it is

 private:
  py::array filled(std::vector<py::ssize_t> shape, void (Tape::*fill)(void*) const) const {
    py::array out(dtype_, std::move(shape));
    void* data = out.mutable_data();
    without_gil([&] { ((*tape).*fill)(data); });
    return out;
  }
  i64 columns_, hidden_;
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
  PyEngine(const std::string& cell, i64 inputs, i64 hidden, i64 outputs, bool bias, py::array params)
      : params_(std::move(params)), dtype_(dtype_of(params_, "params")) {
    const Spec spec{cell, inputs, hidden, outputs, bias};
    count_ = parameter_count(spec);
    engine_ = make_engine(spec, dtype_, target(params_, "params", dtype_, {count_}));
  }

  PyTape forward(const py::array& x, const Optional& lengths, const Optional& h0, bool check_finite) {
    const Batch b = batch(x, lengths, h0, check_finite);
    auto tape = without_gil([&] { return engine_->forward(b); });
    return {std::move(tape), outputs(), spec().hidden, params_.dtype(), this};
  }

  void backward(PyTape& tape, const Optional& d_outputs, const Optional& d_final_state, py::array grad,
                std::optional<py::array> dx, std::optional<py::array> dh0, bool check_finite) {
    if (tape.engine != this) throw py::value_error("the forward result belongs to another model");
    const i64 b = tape.tape->batch(), t = tape.tape->time();
    const Array outer = floats(d_outputs, "d_outputs", {b, t, outputs()});
    const Array final_state = state(d_final_state, "d_final_state", b);
    const Gradients out = gradients(grad, dx, dh0, b, t);
    without_gil([&] { engine_->backward(*tape.tape, outer, final_state, out, check_finite); });
  }

  double loss(const py::array& x, const py::array& y, const std::string& loss, const std::string& steps,
              const std::string& reduction, const Optional& lengths, const Optional& h0, const Optional& sample_weight,
              bool check_finite) {
    const Batch b = batch(x, lengths, h0, check_finite);
    const Objective o = objective(b, y, loss, steps, reduction, sample_weight);
    return without_gil([&] { return engine_->loss(b, o); });
  }

  double loss_and_grad(const py::array& x, const py::array& y, const std::string& loss, const std::string& steps,
                       const std::string& reduction, const Optional& lengths, const Optional& h0,
                       const Optional& sample_weight, bool check_finite, py::array grad, std::optional<py::array> dx,
                       std::optional<py::array> dh0) {
    const Batch b = batch(x, lengths, h0, check_finite);
    const Objective o = objective(b, y, loss, steps, reduction, sample_weight);
    const Gradients out = gradients(grad, dx, dh0, b.x.shape[0], b.x.shape[1]);
    return without_gil([&] { return engine_->loss_and_grad(b, o, out); });
  }

  double train_step(const py::array& x, const py::array& y, const std::string& loss, const std::string& steps,
                    const std::string& reduction, const Optional& lengths, const Optional& h0,
                    const Optional& sample_weight, bool check_finite, PyAdam& optimizer, double clip_norm) {
    const Batch b = batch(x, lengths, h0, check_finite);
    const Objective o = objective(b, y, loss, steps, reduction, sample_weight);
    AdamState& a = optimizer.checked(dtype_, count_);
    return without_gil([&] { return engine_->train_step(b, o, a, clip_norm); });
  }

  void adam_step(PyAdam& optimizer, const py::array& grad, bool check_finite) {
    const void* g = flat(grad, "grad");
    AdamState& a = optimizer.checked(dtype_, count_);
    without_gil([&] { engine_->adam_step(a, g, check_finite); });
  }

  i64 memory_needed(i64 batch, i64 time) {
    if (batch < 1 || time < 1) throw py::value_error("batch and time must be at least 1");
    return without_gil([&] { return engine_->memory_needed(batch, time); });
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
  i64 outputs() const { return spec().outputs ? spec().outputs : spec().hidden; }

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

  // (1, B, H) as (B, H)
  Array state(const Optional& a, const char* name, i64 b) const {
    Array v = floats(a, name, {1, b, spec().hidden});
    for (int i = 0; i < 2; ++i) {
      v.shape[i] = v.shape[i + 1];
      v.strides[i] = v.strides[i + 1];
    }
    return v;
  }

  Batch batch(const py::array& x, const Optional& lengths, const Optional& h0, bool check_finite) const {
    if (x.ndim() != 3) throw py::value_error("x must have three dimensions");
    const i64 b = x.shape(0), t = x.shape(1);
    Batch out;
    out.x = view(x, "x", {b, t, spec().inputs});
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
    out.h0 = state(h0, "h0", b);
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
    if (o.loss != Loss::cross_entropy) shape.push_back(outputs());
    o.y = view(y, "y", shape);
    if (o.loss == Loss::cross_entropy)
      only(o.y, "y", {Dtype::i64});
    else
      only(o.y, "y", {Dtype::f32, Dtype::f64});
    o.sample_weight = view(sample_weight, "sample_weight", {b.x.shape[0]});
    only(o.sample_weight, "sample_weight", {Dtype::f64});
    return o;
  }

  Gradients gradients(py::array& grad, std::optional<py::array>& dx, std::optional<py::array>& dh0, i64 b,
                      i64 t) const {
    Gradients g;
    g.parameters = target(grad, "grad", dtype_, {count_});
    if (dx) g.x = target(*dx, "dx", dtype_, {b, t, spec().inputs});
    if (dh0) g.h0 = target(*dh0, "dh0", dtype_, {1, b, spec().hidden});
    return g;
  }

  py::array params_;  // kept alive for the engine
  Dtype dtype_;
  i64 count_ = 0;
  std::unique_ptr<Engine> engine_;
};

py::array tanh_of(const py::array& x) {
  const i64 n = x.size();
  const Array v = view(x, "x", {n});
  if (!(x.flags() & py::array::c_style)) throw py::value_error("x must be contiguous");
  py::array out(x.dtype(), std::vector<py::ssize_t>{static_cast<py::ssize_t>(n)});
  if (v.dtype == Dtype::f32)
    kernels_for<float>(active(), 0).tanh(static_cast<const float*>(v.data), static_cast<float*>(out.mutable_data()), n);
  else if (v.dtype == Dtype::f64)
    kernels_for<double>(active(), 0)
        .tanh(static_cast<const double*>(v.data), static_cast<double*>(out.mutable_data()), n);
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
    const double operations = kernels_for<T>(active(), 0).multiply_adds(rounds, sink);
    return operations / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (dtype == "float32") return without_gil([&] { return measure(float{}); });
  if (dtype == "float64") return without_gil([&] { return measure(double{}); });
  throw py::value_error("dtype must be float32 or float64");
}

// ------------------------------------------------------------------------------------------------------ the module

void bind_engine(py::module_& m) {
  using py::arg;
  py::class_<PyTape>(m, "Tape")
      .def_property_readonly("outputs", &PyTape::outputs)
      .def_property_readonly("hidden", &PyTape::hidden)
      .def_property_readonly("final_state", &PyTape::final_state)
      .def_property_readonly("batch", [](const PyTape& t) { return t.tape->batch(); })
      .def_property_readonly("time", [](const PyTape& t) { return t.tape->time(); });
  py::class_<PyEngine>(m, "Engine")
      .def(py::init<const std::string&, i64, i64, i64, bool, py::array>(), arg("cell"), arg("input_size"),
           arg("hidden_size"), arg("output_size"), arg("bias"), arg("params"))
      .def("forward", &PyEngine::forward, arg("x"), arg("lengths"), arg("h0"), arg("check_finite"))
      .def("backward", &PyEngine::backward, arg("tape"), arg("d_outputs"), arg("d_final_state"), arg("grad"), arg("dx"),
           arg("dh0"), arg("check_finite"))
      .def("loss", &PyEngine::loss, arg("x"), arg("y"), arg("loss"), arg("steps"), arg("reduction"), arg("lengths"),
           arg("h0"), arg("sample_weight"), arg("check_finite"))
      .def("loss_and_grad", &PyEngine::loss_and_grad, arg("x"), arg("y"), arg("loss"), arg("steps"), arg("reduction"),
           arg("lengths"), arg("h0"), arg("sample_weight"), arg("check_finite"), arg("grad"), arg("dx"), arg("dh0"))
      .def("train_step", &PyEngine::train_step, arg("x"), arg("y"), arg("loss"), arg("steps"), arg("reduction"),
           arg("lengths"), arg("h0"), arg("sample_weight"), arg("check_finite"), arg("optimizer"), arg("clip_norm"))
      .def("adam_step", &PyEngine::adam_step, arg("optimizer"), arg("grad"), arg("check_finite"))
      .def("memory_needed", &PyEngine::memory_needed, arg("batch"), arg("time"))
      .def("set_params", &PyEngine::set_params, arg("values"))
      .def("get_params", &PyEngine::get_params);
  m.def(
      "layout",
      [](const std::string& cell, i64 inputs, i64 hidden, i64 outputs, bool bias) {
        find_cell(cell);
        py::list all;
        for (const Parameter& p : layout({cell, inputs, hidden, outputs, bias}))
          all.append(py::make_tuple(p.name, py::tuple(py::cast(p.shape)), p.offset));
        return all;
      },
      arg("cell"), arg("input_size"), arg("hidden_size"), arg("output_size"), arg("bias"));
  m.def("cells", &cell_names);
  m.def("losses", [] { return std::vector<std::string>{"bce", "cross_entropy", "mse"}; });
  m.def("tanh", &tanh_of, arg("x"));
}

void bind_optimizers(py::module_& m) {
  py::class_<PyAdam>(m, "AdamState")
      .def(py::init<py::array, py::array>(), py::arg("m"), py::arg("v"))
      .def_property(
          "step", [](const PyAdam& a) { return a.state.step; }, [](PyAdam& a, i64 n) { a.state.step = n; })
      .def_property(
          "lr", [](const PyAdam& a) { return a.state.lr; }, [](PyAdam& a, double x) { a.state.lr = x; })
      .def_property(
          "beta1", [](const PyAdam& a) { return a.state.beta1; }, [](PyAdam& a, double x) { a.state.beta1 = x; })
      .def_property(
          "beta2", [](const PyAdam& a) { return a.state.beta2; }, [](PyAdam& a, double x) { a.state.beta2 = x; })
      .def_property(
          "eps", [](const PyAdam& a) { return a.state.eps; }, [](PyAdam& a, double x) { a.state.eps = x; })
      .def_property(
          "epsilon_hat", [](const PyAdam& a) { return a.state.epsilon_hat; },
          [](PyAdam& a, bool x) { a.state.epsilon_hat = x; });
}

void bind_machine(py::module_& m) {
  m.def("backends", [] {
    py::list all;
    for (const Backend& b : backends()) all.append(py::make_tuple(b.name, b.description, b.usable));
    return all;
  });
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
  bind_engine(m);
  bind_optimizers(m);
  bind_machine(m);
  py::module_::import("atexit").attr("register")(py::cpp_function(&close_gil));
}
