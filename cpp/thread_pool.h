// A small thread pool that survives fork, and its barrier.
#ifndef FASTBPTT_THREAD_POOL_H
#define FASTBPTT_THREAD_POOL_H

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

namespace fastbptt {

// Waits briefly in a spin loop: pauses at first, yields the core when it takes long
class Backoff {
 public:
  explicit Backoff(int pauses = 2000) : pauses_(pauses) {}
  void wait() {
    if (pauses_ > 0) {
      --pauses_;
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
  int pauses_;
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
      wait_while([&] { return phase_.load(std::memory_order_acquire) == phase; });
    }
  }

  // Notes how long the thread that made the barrier waits
  template <class F>
  void wait_while(const F& go_on, Backoff b = Backoff()) {
    const bool noted = std::this_thread::get_id() == owner_;
    const std::int64_t start = noted ? now() : 0;
    while (go_on()) b.wait();
    if (noted) waited_ += now() - start;
  }
  std::int64_t waited() const { return waited_; }

  static std::int64_t now() {  // nanoseconds
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

 private:
  const int n_;
  const std::thread::id owner_ = std::this_thread::get_id();
  std::int64_t waited_ = 0;
  std::atomic<int> arrived_{0};
  std::atomic<int> phase_{0};
};

// How large a team pays on a machine that has other work to do. A helper that another process keeps waiting costs more
// than it computes, because all meet at barriers; so a call that finds its helpers late goes on with one thread fewer,
// for a time that is long beside what was lost. Times in nanoseconds.
class Patience {
 public:
  int limit(int wanted, std::int64_t now);
  // A call by a team took so long, in which `lost` went by while the caller or the latest helper stood still
  void saw(int team, std::int64_t total, std::int64_t lost, std::int64_t now);

 private:
  int most_ = 0;                                   // the largest team; 0: any
  std::int64_t until_ = 0;                         // .. until then
  std::int64_t total_ = 0, lost_ = 0, calls_ = 0;  // of the stretch that is not judged yet
};

// Threads that a call may use: OMP_NUM_THREADS if set, else the processors that the affinity mask and the cgroup's
// quota leave to this process.
int default_threads();
int get_num_threads();
// Threads that the calls of this thread may use: those, or fewer if it has a limit
int threads_of_call();
// Limits the teams of this thread's calls; 0: no limit. Returns what was set before.
int limit_threads(int n);
constexpr int most_threads = 1024;
// Throws ArgumentError unless 1 <= n <= most_threads.
void set_num_threads(int n);

// Calls task(worker, team size) for all workers 0 .. n-1 in parallel, worker 0 on the caller's thread, and returns when
// all have finished. If the pool is serving another caller, or threads are not available, the team is smaller, down to
// one; and it is smaller for a while if helpers were late. The task must not throw. Workers flush denormal numbers to
// zero; the caller's mode is restored. idle: the share of the time that worker 0 waits because it has less to do
void run_team(int n, const std::function<void(int worker, int team, Barrier&)>& task, double idle = 0);

}  // namespace fastbptt

#endif
