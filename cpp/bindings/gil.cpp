#include "bindings/gil.h"

#include "bindings/register.h"
#include "platform/platform.h"
#include "thread_pool.h"

namespace fastbptt::bindings {

namespace {

std::atomic<unsigned long> main_thread;

void close_gil() {
  closer = std::this_thread::get_id();
  closing.store(true);
  const py::gil_scoped_release release;  // those already on their way back come through first
  for (Backoff b; returning.load() > 0;) b.wait();
}

}  // namespace

bool is_main_thread() { return main_thread.load() == PyThread_get_thread_ident(); }

void register_gil(py::module_&) {
  main_thread = py::cast<unsigned long>(py::module_::import("threading").attr("main_thread")().attr("ident"));
  // A fork copies the count of threads on their way back, but not the threads; the one that forks holds the GIL.
  static const bool registered = [] {
    platform::after_fork([] {
      returning.store(0);
      closing.store(false);
      main_thread.store(PyThread_get_thread_ident());
    });
    return true;
  }();
  (void)registered;
  py::module_::import("atexit").attr("register")(py::cpp_function(&close_gil));
}

}  // namespace fastbptt::bindings
