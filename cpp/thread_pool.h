// A small thread pool that survives fork, and its barrier.
#ifndef FASTBPTT_THREAD_POOL_H
#define FASTBPTT_THREAD_POOL_H

#include <atomic>
#include <functional>
#include <thread>

namespace fastbptt {

// Waits briefly in a spin loop: pauses at first, yields the core when it takes long
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

// A reusable barrier for a team of n workers.
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

// Calls task(worker, team size) for all workers 0 .. n-1 in parallel, worker 0 on the caller's thread, and returns when
// all have finished. If the pool is serving another caller, or threads are not available, the team is smaller, down to
// one. The task must not throw. Workers flush denormal numbers to zero; the caller's mode is restored.
void run_team(int n, const std::function<void(int worker, int team, Barrier&)>& task);

}  // namespace fastbptt

#endif
