#include "interrupt.h"

#include <utility>

#include "errors.h"

namespace fastbptt {

namespace {

using Clock = std::chrono::steady_clock;

thread_local Interruptible* of_this_thread = nullptr;

}  // namespace

StopFlag*& heeded() {
  thread_local StopFlag* flag = nullptr;
  return flag;
}

Interruptible::Interruptible(std::function<bool()> asked) : asked_(std::move(asked)), outer_(of_this_thread) {
  of_this_thread = this;
}

Interruptible::~Interruptible() { of_this_thread = outer_; }

void Interruptible::refuse_within() {
  for (const Interruptible* call = of_this_thread; call; call = call->outer_)
    if (call->asking_)
      throw ArgumentError({"the model", "cannot change in a signal handler that has interrupted a call",
                           "the handler to set a flag or to raise an exception"});
}

Stop::Stop() : StopSign{&Stop::look} {}

bool Stop::look(StopSign& sign) {
  Stop& stop = static_cast<Stop&>(sign);
  if (stop.followed_) return look(*stop.followed_);
  if (stop.reached_.load(std::memory_order_relaxed)) return true;
  Interruptible* caller = of_this_thread;
  if (!caller) return false;
  if (++caller->looks_ % 16 != 0) return false;  // a look at the clock takes longer than a small step
  const Clock::time_point now = Clock::now();
  if (caller->last_ == Clock::time_point{}) caller->last_ = now;
  if (now - caller->last_ < std::chrono::milliseconds(100)) return false;
  caller->asking_ = true;
  const bool asked = caller->asked_();
  caller->asking_ = false;
  caller->last_ = Clock::now();
  if (asked) stop.reached_.store(true, std::memory_order_relaxed);
  return asked;
}

}  // namespace fastbptt
