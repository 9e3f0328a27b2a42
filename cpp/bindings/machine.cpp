// Instruction sets, threads, memory, and what the processor can do at most.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <limits>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "dispatch.h"
#include "errors.h"
#include "memory.h"
#include "thread_pool.h"

namespace fastbptt::bindings {

namespace {

py::array tanh_of(const py::array& x) {
  const i64 n = x.size();
  const Array v = view(x, "x", {n}, {Dtype::f32, Dtype::f64});
  if (!(x.flags() & py::array::c_style)) throw ArgumentError({"x", "is not contiguous"});
  py::array out(x.dtype(), std::vector<py::ssize_t>{static_cast<py::ssize_t>(n)});
  if (v.dtype == Dtype::f32)
    kernels_of<float>(active()).tanh(static_cast<const float*>(v.data), static_cast<float*>(out.mutable_data()), n);
  else
    kernels_of<double>(active()).tanh(static_cast<const double*>(v.data), static_cast<double*>(out.mutable_data()), n);
  return out;
}

// Multiply-adds out of registers in the active instruction set; returns operations per second
double multiply_add_rate(const std::string& dtype, i64 rounds) {
  if (rounds < 1) throw ArgumentError({"rounds", "is " + std::to_string(rounds), "at least 1"});
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
  throw ArgumentError({"dtype", "is '" + dtype + "'", "'float32' or 'float64'"});
}

// Seconds of a call by a team of threads that do nothing but meet so many times: the mean of some calls, without those
// that had fewer threads; infinite if all had
double team_seconds(int threads, i64 meetings, i64 rounds) {
  if (threads < 1 || threads > most_threads)
    throw ArgumentError({"threads", "is " + std::to_string(threads), "1 to " + std::to_string(most_threads)});
  if (meetings < 0) throw ArgumentError({"meetings", "is " + std::to_string(meetings), "at least 0"});
  if (rounds < 1) throw ArgumentError({"rounds", "is " + std::to_string(rounds), "at least 1"});
  return without_gil([&] {
    double seconds = 0, whole = 0;
    for (i64 round = 0; round < rounds; ++round) {
      int size = 0;
      const auto start = std::chrono::steady_clock::now();
      run_team(threads, [&](int worker, int team, Barrier& barrier) {
        if (worker == 0) size = team;
        for (i64 i = 0; i < meetings; ++i) barrier.meet();
      });
      if (size < threads) continue;
      seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      ++whole;
    }
    return whole > 0 ? seconds / whole : std::numeric_limits<double>::infinity();
  });
}

// While it is entered, the calls of this thread have a team of at most so many, and end once the limit is told to stop.
// Entered in several threads at a time, but once in each.
class ThreadLimit {
 public:
  explicit ThreadLimit(int n) : n_(n) {
    if (n < 1 || n > most_threads)
      throw ArgumentError({"n", "is " + std::to_string(n), "1 to " + std::to_string(most_threads)});
  }
  void enter() {
    limit_threads(n_);
    heeded() = &stop_;
  }
  void leave(const py::args&) {
    limit_threads(0);
    heeded() = nullptr;
  }
  void stop() { stop_.store(true); }

 private:
  int n_;
  StopFlag stop_{false};
};

}  // namespace

void register_machine(py::module_& m) {
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
  py::class_<ThreadLimit>(m, "ThreadLimit")
      .def(py::init<int>(), py::arg("n"))
      .def("__enter__", &ThreadLimit::enter)
      .def("__exit__", &ThreadLimit::leave)
      .def("stop", &ThreadLimit::stop);
  m.def("multiply_add_rate", &multiply_add_rate, py::arg("dtype"), py::arg("rounds"));
  m.def("team_seconds", &team_seconds, py::arg("threads"), py::arg("meetings"), py::arg("rounds"));
  m.attr("most_threads") = most_threads;
  m.def("memory_limit", &memory_limit);
  m.def("tanh", &tanh_of, py::arg("x"));
  m.attr("compiler") = FASTBPTT_COMPILER;
  m.attr("version") = FASTBPTT_VERSION;
}

}  // namespace fastbptt::bindings
