#include "bindings/gil.h"

#include <pthread.h>

#include "bindings/register.h"
#include "thread_pool.h"

namespace fastbptt::bindings {

namespace {

void close_gil() {
  closer = std::this_thread::get_id();
  closing.store(true);
  const py::gil_scoped_release release;  // those already on their way back come through first
  for (Backoff b; returning.load() > 0;) b.wait();
}

}  // namespace

void register_gil(py::module_&) {
  // A fork copies the count of threads on their way back, but not the threads; the one that forks holds the GIL.
  static const int at_fork = pthread_atfork(nullptr, nullptr, [] {
    returning.store(0);
    closing.store(false);
  });
  (void)at_fork;
  py::module_::import("atexit").attr("register")(py::cpp_function(&close_gil));
}

}  // namespace fastbptt::bindings
