// A small thread pool that survives fork, and the barrier its threads meet at.
#ifndef FASTBPTT_THREAD_POOL_H
#define FASTBPTT_THREAD_POOL_H

#include <atomic>
#include <functional>
#include <thread>

namespace fastbptt {

// Wait a moment in a spinning loop: pause first, give the core away when it takes long
class Backoff {
 public:
  void wait() {
    if (++count_ < 2000) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    } else {
      std::this_thread::yield();
    }
  }

 private:
  int count_ = 0;
};

// Workers of a team of n meet here again and again.
class Barrier {
 public:
  explicit Barrier(int n) : n_(n) {}
  void meet() {
    if (n_ == 1) return;
    const int phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
    } else {
      for (Backoff b; phase_.load(std::memory_order_acquire) == phase;) b.wait();
    }
  }

 private:
  const int n_;
  std::atomic<int> arrived_{0};
  std::atomic<int> phase_{0};
};

// Threads that a call may use: OMP_NUM_THREADS if set, else the processors that the affinity mask and the cgroup's
// quota leave to this process.
int default_threads();
int get_num_threads();
constexpr int most_threads = 1024;
// Throws ArgumentError unless 1 <= n <= most_threads.
void set_num_threads(int n);

// Calls task(worker, team size) for each worker 0 .. n-1 at the same time, worker 0 on the caller's thread, and returns
// when all are done. If the pool serves another caller just now, or threads cannot be had, the team is smaller, down to
// one. The task must not throw. Each worker computes with denormal numbers as zero; the caller's mode is restored.
void run_team(int n, const std::function<void(int worker, int team, Barrier&)>& task);

}  // namespace fastbptt

#endif
