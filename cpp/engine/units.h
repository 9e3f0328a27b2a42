// How a team goes through the recursion over time: each worker over its own sequences or, of a batch with few of them,
// over some of the units of all.
#ifndef FASTBPTT_ENGINE_UNITS_H
#define FASTBPTT_ENGINE_UNITS_H

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "interrupt.h"
#include "kernels/kernels.h"
#include "thread_pool.h"

namespace fastbptt {

// Where the workers of a team that share the units of every step meet after each stage. A worker writes to a cache line
// of its own and reads those of the others. If worker 0 finds that it waits too long, it finishes the recursion alone.
class UnitMeeting {
 public:
  static constexpr int most = 8;  // workers

  // Before the team starts
  void begin() {
    for (Line& line : lines_) line.count.store(0, std::memory_order_relaxed);
    alone_from_.store(never, std::memory_order_relaxed);
    begun_ = Barrier::now();
    lost_ = until_ = 0;
    alone_ = late_ = false;
  }

  // Worker 0 before each recursion, and before the others may read alone(): whether the team is tried again
  void decide() {
    if (!alone_ || Barrier::now() < until_) return;
    alone_ = false;
    alone_from_.store(never, std::memory_order_relaxed);
    begun_ = Barrier::now();
    lost_ = 0;
  }
  bool alone() const { return alone_; }

  // false: worker `number` has nothing more to do in this recursion. alone: worker 0 has all units from now on
  bool meet(int number, int team, i64 count, Barrier& barrier, Stop& stop, bool& alone) {
    const bool leaves = number == 0 && late_;
    if (leaves) alone_from_.store(count, std::memory_order_relaxed);
    lines_[number].count.store(count, std::memory_order_release);
    for (int other = 0; other < team; ++other)
      if (other != number && !wait_for(number, lines_[other].count, count, barrier, stop)) return false;
    if (number > 0) return alone_from_.load(std::memory_order_relaxed) > count;
    if (leaves) {
      late_ = false;
      alone = alone_ = true;
    }
    return true;
  }

 private:
  static constexpr i64 never = std::numeric_limits<i64>::max();
  struct alignas(128) Line {  // processors fetch lines in pairs
    std::atomic<i64> count{0};
  };

  bool wait_for(int number, const std::atomic<i64>& of, i64 count, Barrier& barrier, Stop& stop) {
    // where both share a processor, one waits in vain for as long as it does not yield it
    constexpr int pauses = 100;
    const auto there = [&] { return of.load(std::memory_order_acquire) >= count; };
    Backoff b;
    for (int i = 0; i < pauses; ++i) {
      if (there()) return true;
      b.wait();
    }
    bool stopped = false;
    const std::int64_t before = number == 0 ? barrier.waited() : 0;
    barrier.wait_while([&] { return !there() && !(stopped = stop.reached()); }, Backoff(0));
    if (number == 0) judge(barrier.waited() - before);
    return !stopped;
  }

  // As Patience does for whole calls
  void judge(std::int64_t lost) {
    constexpr std::int64_t least = 10'000'000, rest = 40;  // nanoseconds; times what was lost
    constexpr double most_lost = 0.4;
    const std::int64_t now = Barrier::now();
    lost_ += lost;
    if (lost_ < least || double(lost_) < most_lost * double(now - begun_)) return;
    late_ = true;
    until_ = now + rest * lost_;
  }

  Line lines_[most];
  std::atomic<i64> alone_from_{never};  // worker 0 has all units after this meeting
  bool alone_ = false;                  // read by all at the start of a recursion, else worker 0's, as is the rest
  bool late_ = false;
  std::int64_t begun_ = 0, lost_ = 0, until_ = 0;
};

// What a team has to share
struct TeamWork {
  int limit;       // workers that may be had
  i64 batch;       // sequences
  double running;  // of them, at a step
  i64 panels;      // of units
  double stage;    // multiply-adds of a row in a stage of a step, in vectors
  int tile_rows;
};

// Workers, and what they share
struct TeamPlan {
  int workers;
  bool units;
  double idle;  // the share of the time that worker 0 waits because it has fewer units
};

// So many of a call with so many required operations, as in docs/performance.md
inline int workers_for(double work, i64 most) {
  constexpr double least = 4e6;  // below this a second thread costs more than it gains
  return std::max(static_cast<int>(std::min(double(most), work / least)), 1);
}

// Which is faster, in the time that a row takes in a full tile. docs/performance.md, "Batches of few sequences"
inline TeamPlan plan_team(const TeamWork& work) {
  constexpr double meeting = 310;  // vector multiply-adds in the time of a meeting
  constexpr double advantage = 1.1;
  if (work.limit == 1) return {1, false, 0};
  // a tile of few rows waits for its sums, or for the weights
  const auto cost = [&](double rows) { return std::max(rows, double(work.tile_rows) / 3 + rows / 2); };
  const int by_rows = std::max(static_cast<int>(std::min<i64>(work.limit, work.batch)), 1);
  TeamPlan best{by_rows, false, 0};
  double least = cost(std::ceil(work.running / by_rows)) / advantage;
  const int most = static_cast<int>(std::min<i64>({work.limit, work.panels, UnitMeeting::most}));
  for (int team = 2; team <= most; ++team) {
    const i64 first = work.panels / team, largest = (work.panels + team - 1) / team;
    const double time = cost(work.running) * double(largest) / double(work.panels) + meeting / work.stage * (team - 1);
    if (time >= least) continue;
    least = time;
    best = {team, true, 1 - double(first) / double(largest)};
  }
  return best;
}

// A worker's way through the recursions of a call
class Recursion final : private UnitShare {
 public:
  // meeting null: the team shares the sequences
  Recursion(UnitMeeting* meeting, Stop& stop, Barrier& barrier, int number, int team, i64 panels, i64 batch)
      : meeting_(team > 1 ? meeting : nullptr),
        stop_(stop),
        barrier_(barrier),
        number_(number),
        team_(team),
        panels_(panels),
        batch_(batch) {
    panel1 = panels;
    first = number == 0;
    meet = &Recursion::meet_team;
  }

  bool shares_units() const { return meeting_ != nullptr; }

  // f(units, row0, row1), as the kernels take them, unless the call was stopped. If the team shares units it meets
  // before and after: what was computed by rows is there for it, and what it computes for what follows.
  template <class F>
  void run(i64 row0, i64 row1, const F& f) {
    if (!meeting_) {
      if (!stop_.reached()) f(static_cast<UnitShare*>(nullptr), row0, row1);
      return;
    }
    if (number_ == 0) meeting_->decide();
    barrier_.meet();
    alone_ = meeting_->alone();
    panel0 = alone_ ? 0 : panels_ * number_ / team_;
    panel1 = alone_ ? panels_ : panels_ * (number_ + 1) / team_;
    if ((number_ == 0 || !alone_) && !stop_.reached()) f(static_cast<UnitShare*>(this), i64(0), batch_);
    barrier_.meet();
  }

 private:
  static bool meet_team(UnitShare& share) {
    Recursion& own = static_cast<Recursion&>(share);
    if (own.alone_) return true;
    if (!own.meeting_->meet(own.number_, own.team_, ++own.count_, own.barrier_, own.stop_, own.alone_)) return false;
    if (own.alone_) {
      own.panel0 = 0;
      own.panel1 = own.panels_;
    }
    return true;
  }

  UnitMeeting* meeting_;
  Stop& stop_;
  Barrier& barrier_;
  int number_, team_;
  i64 panels_, batch_, count_ = 0;  // meetings
  bool alone_ = false;
};

}  // namespace fastbptt

#endif
