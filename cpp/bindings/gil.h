// Calls into the core without the GIL.
#ifndef FASTBPTT_BINDINGS_GIL_H
#define FASTBPTT_BINDINGS_GIL_H

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "interrupt.h"

namespace fastbptt::bindings {

// A daemon thread that asks for the GIL while the interpreter goes away is unwound or hung by Python at a point where
// C++ cannot be left. So at exit no call gets the GIL back any more but in the thread that is closing down: the others
// stop here, for good.
inline std::atomic<bool> closing{false};
inline std::thread::id closer;
inline std::atomic<int> returning{0};

// The thread that runs Python's signal handlers
bool is_main_thread();

// Runs work without the GIL; arrays must have been turned into views before. In the main thread signals are handled
// meanwhile, and what a handler raises ends the call; in another one KeyboardInterrupt, once the flag that it heeds is
// raised.
template <class F>
auto without_gil(const F& work) {
  std::optional<pybind11::error_already_set> raised;
  struct Return {
    PyThreadState* state = PyEval_SaveThread();
    Return() = default;
    Return(const Return&) = delete;
    Return& operator=(const Return&) = delete;
    ~Return() {
      returning.fetch_add(1);
      if (closing.load() && closer != std::this_thread::get_id()) {
        returning.fetch_sub(1);
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
      }
      PyEval_RestoreThread(state);
      returning.fetch_sub(1);
    }
  };
  try {
    Return back;
    std::optional<Interruptible> signals;
    if (is_main_thread())
      signals.emplace([&] {
        PyEval_RestoreThread(back.state);
        if (PyErr_CheckSignals() != 0) raised.emplace();
        back.state = PyEval_SaveThread();
        return raised.has_value();
      });
    else if (StopFlag* flag = heeded())
      signals.emplace([flag] { return flag->load(); });
    return work();
  } catch (const CallStopped&) {
    if (!raised) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      throw pybind11::error_already_set();
    }
    throw pybind11::error_already_set(*raised);
  }
}

}  // namespace fastbptt::bindings

#endif
