#include "thread_pool.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "denormals.h"
#include "errors.h"
#include "platform/platform.h"

namespace fastbptt {
namespace {

using TeamTask = std::function<void(int, int, Barrier&)>;

struct Job {
  const TeamTask* task = nullptr;
  Barrier* barrier = nullptr;
  int team = 0;
  std::int64_t begun = 0;
};

// Never destroyed: its threads may still be waiting while the process exits.
class ThreadPool {
 public:
  // Serves one caller at a time; for others it returns false, and they run single-threaded.
  bool try_run(int n, const TeamTask& task, double idle) {
    const std::unique_lock<std::mutex> one(busy_, std::try_to_lock);
    if (!one.owns_lock()) return false;
    const std::int64_t begun = Barrier::now();
    if (forget_.exchange(false)) patience_ = {};
    n = patience_.limit(n, begun);
    if (n == 1) return false;
    const int team = 1 + grow(n - 1);
    Barrier barrier(team);
    lost_.store(std::numeric_limits<std::int64_t>::min(), std::memory_order_relaxed);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = {&task, &barrier, team, begun};
      left_.store(team - 1, std::memory_order_relaxed);
      number_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    task(0, team, barrier);
    barrier.wait_while([&] { return left_.load(std::memory_order_acquire) > 0; });
    const std::int64_t end = Barrier::now(), total = end - begun;
    // a helper's clock does not see what a machine around this one takes, the caller's waiting not what it has to wait
    const std::int64_t waited = barrier.waited() - static_cast<std::int64_t>(idle * double(total));
    if (team > 1) patience_.saw(team, total, std::max(waited, lost_.load(std::memory_order_relaxed)), end);
    return true;
  }

  void forget() { forget_.store(true); }

 private:
  int grow(int wanted) {
    try {
      while (workers_ < wanted) {
        std::thread(&ThreadPool::work, this, workers_ + 1, number_.load()).detach();
        ++workers_;
      }
    } catch (const std::system_error&) {  // no more threads available
    }
    return std::min(workers_, wanted);
  }

  void work(int worker, unsigned done) {
    for (;;) {
      for (int i = 0; i < 20000 && number_.load(std::memory_order_acquire) == done; ++i) {
        Backoff b;
        b.wait();
      }
      Job job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return number_.load(std::memory_order_relaxed) != done; });
        done = number_.load(std::memory_order_relaxed);
        job = job_;
      }
      if (worker >= job.team) continue;
      const std::int64_t before = platform::processor_time();
      {
        const FlushDenormals mode;
        (*job.task)(worker, job.team, *job.barrier);
      }
      const std::int64_t lost = Barrier::now() - job.begun - (platform::processor_time() - before);
      for (std::int64_t most = lost_.load(std::memory_order_relaxed);
           lost > most && !lost_.compare_exchange_weak(most, lost, std::memory_order_relaxed);) {
      }
      left_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex busy_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Job job_;
  std::atomic<unsigned> number_{0};
  std::atomic<int> left_{0};
  std::atomic<std::int64_t> lost_{0};  // by the latest helper of a job
  std::atomic<bool> forget_{false};
  Patience patience_;  // under busy_
  int workers_ = 0;
};

// Null until first used, and in the child of a fork, which has none of the parent's threads.
std::atomic<ThreadPool*> shared_pool{nullptr};

ThreadPool& thread_pool() {
  static const bool registered = [] {
    platform::after_fork([] { shared_pool.store(nullptr); });
    return true;
  }();
  (void)registered;
  ThreadPool* p = shared_pool.load(std::memory_order_acquire);
  if (!p) {
    auto* fresh = new ThreadPool;
    if (shared_pool.compare_exchange_strong(p, fresh)) return *fresh;
    delete fresh;
  }
  return *p;
}

// Number of processors in the cgroup's CPU quota, or 0 if it sets no limit
double cgroup_quota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) return std::atof(quota.c_str()) / period;
  std::ifstream v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double granted = 0;
  if (v1 >> granted && v1_period >> period && granted > 0 && period > 0) return granted / period;
  return 0;
}

std::atomic<int>& thread_setting() {
  static std::atomic<int> n{default_threads()};
  return n;
}

thread_local int limit_of_this_thread = 0;

int limited(int n) { return limit_of_this_thread > 0 ? std::min(n, limit_of_this_thread) : n; }

}  // namespace

int Patience::limit(int wanted, std::int64_t now) {
  if (most_ == 0) return wanted;
  if (now >= until_) {  // one thread more, on trial
    ++most_;
    until_ = now + 1'000'000'000;
    total_ = lost_ = calls_ = 0;
  }
  if (most_ >= wanted) {
    most_ = 0;
    return wanted;
  }
  return most_;
}

void Patience::saw(int team, std::int64_t total, std::int64_t lost, std::int64_t now) {
  // Judged is a stretch of calls that is long beside a processor's time slices; with a share of 0.4 lost, a team of two
  // is as slow as one thread.
  constexpr std::int64_t stretch = 30'000'000, longest = 60'000'000'000, rest = 40;  // rest: times what was lost
  constexpr int fewest = 3;  // calls, unless they are long: the first may find its helpers asleep
  constexpr double most_lost = 0.4;
  total_ += total;
  lost_ += std::min(lost, total);  // below 0 too: clocks may be coarse, but the sums are right
  ++calls_;
  if (total_ < stretch || (calls_ < fewest && total_ < 10 * stretch)) return;
  if (double(lost_) > most_lost * double(total_)) {
    most_ = team - 1;
    until_ = now + std::min(longest, rest * lost_);
  }
  total_ = lost_ = calls_ = 0;
}

int default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int n = std::atoi(text);
    if (n >= 1) return std::min(n, most_threads);
  }
  int n = platform::processors();
  const double quota = cgroup_quota();
  if (quota > 0) n = std::min(n, static_cast<int>(std::ceil(quota)));
  return std::clamp(n, 1, most_threads);
}

int get_num_threads() { return thread_setting().load(); }

int threads_of_call() { return limited(get_num_threads()); }

int limit_threads(int n) {
  if (n < 0 || n > most_threads)
    throw ArgumentError({"n", "is " + std::to_string(n), "0 to " + std::to_string(most_threads)});
  return std::exchange(limit_of_this_thread, n);
}

void set_num_threads(int n) {
  if (n < 1 || n > most_threads)
    throw ArgumentError({"n", "is " + std::to_string(n), "1 to " + std::to_string(most_threads)});
  thread_setting().store(n);
  thread_pool().forget();  // what was seen with another number
}

void run_team(int n, const TeamTask& task, double idle) {
  const FlushDenormals mode;
  n = limited(n);
  if (n > 1 && thread_pool().try_run(n, task, idle)) return;
  Barrier barrier(1);
  task(0, 1, barrier);
}

}  // namespace fastbptt
