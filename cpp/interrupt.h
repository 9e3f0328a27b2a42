// Long calls end early if their caller asks for it.
#ifndef FASTBPTT_INTERRUPT_H
#define FASTBPTT_INTERRUPT_H

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>

#include "kernels/kernels.h"

namespace fastbptt {

// Thrown by a call that its caller has stopped; nothing has changed then
struct CallStopped : std::exception {
  const char* what() const noexcept override { return "the call was stopped"; }
};

// While it exists, calls of this thread ask `asked` every tenth of a second whether they shall end; it must not
// throw.
class Interruptible {
 public:
  explicit Interruptible(std::function<bool()> asked);
  ~Interruptible();
  // Throws within `asked`, where the call that waits for the answer may hold a model's locks
  static void refuse_within();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  friend class Stop;
  std::function<bool()> asked_;
  std::chrono::steady_clock::time_point last_{};  // none before the first look at the clock
  unsigned looks_ = 0;
  bool asking_ = false;
  Interruptible* outer_;
};

// Ends the calls of all threads that heed it, once another thread has raised it
using StopFlag = std::atomic<bool>;
// The flag that this thread's calls heed; null: none. The caller keeps it alive.
StopFlag*& heeded();

// Whether a call shall end: asked by the thread that made it, read by its whole team
class Stop final : public StopSign {
 public:
  Stop();
  void follow(Stop& other) { followed_ = &other; }  // from now on it is the other one that is asked
  void begin() { reached_.store(false, std::memory_order_relaxed); }
  bool reached() { return look(*this); }
  void check() const {  // after the team has finished
    if (reached_.load(std::memory_order_relaxed)) throw CallStopped();
  }

 private:
  static bool look(StopSign& sign);
  std::atomic<bool> reached_{false};
  Stop* followed_ = nullptr;
};

}  // namespace fastbptt

#endif
