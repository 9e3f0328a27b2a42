// A team that shares the units of each step, because a batch has few sequences: when it does, what it computes, and
// what happens when a worker is late or the call is stopped.
#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "engine/units.h"
#include "interrupt.h"
#include "naive.h"
#include "thread_pool.h"

using namespace fastbptt;
using calls::EngineCall;
using calls::for_backends_in_turns;
using calls::same_bits;
using calls::text;
using naive::Data;
using naive::NetworkCase;
using naive::Result;

namespace {

// AVX2: vectors of 8 floats, panels of 16 units
TeamPlan plan(int limit, double running, i64 hidden, i64 gates, i64 inputs = 16) {
  return plan_team({.limit = limit,
                    .batch = i64(running),
                    .running = running,
                    .panels = (hidden + 15) / 16,
                    .stage = double(gates * hidden * (inputs + hidden)) / 8,
                    .tile_rows = 6});
}

}  // namespace

TEST_CASE("a team shares the units where that is faster") {
  for (const double running : {1, 2, 4, 5, 6}) {  // rows; 128 units
    CHECK(plan(2, running, 128, 1).units);
    CHECK(plan(2, running, 128, 4).units);
    CHECK(plan(2, running, 128, 4).workers == 2);
  }
  CHECK(!plan(2, 8, 128, 4).units);  // whole tiles for both
  CHECK(plan(2, 8, 128, 4).workers == 2);
  CHECK(!plan(2, 1, 24, 1).units);  // less to do than a meeting takes
  CHECK(plan(2, 1, 24, 1).workers == 1);
  CHECK(!plan(2, 1, 16, 4, 1000).units);  // one panel
  CHECK(!plan(1, 1, 128, 4).units);
  CHECK(plan(1, 5, 128, 4).workers == 1);
  CHECK(plan(64, 1, 2048, 4).workers == UnitMeeting::most);
  CHECK(plan(2, 1, 128, 4).idle == 0);
  CHECK(plan(2, 1, 80, 4).idle == doctest::Approx(1.0 / 3));  // two panels, and three
}

namespace {

// Few sequences that are long enough for three workers, of more units than a panel of any instruction set has
NetworkCase few(const std::string& cell, i64 B, i64 layers, i64 directions) {
  NetworkCase c;
  c.net.cell = cell;
  c.net.inputs = 9;
  c.net.hidden = 130;
  c.net.outputs = 3;
  naive::give_setting(c.net, 0.3);
  c.net.layers = layers;
  c.net.bidirectional = directions == 2;
  const double row = 2.0 * double(cell_info(cell).gates * 130 * (2 * 9 + 3 * 130));
  c.B = B;
  c.T = i64(12.1e6 / row) / B + 1;
  return c;
}

std::vector<NetworkCase> cases(const std::string& cell) {
  NetworkCase stream = few(cell, 1, 1, 1);
  stream.steps = Steps::all;
  stream.loss = "mse";
  NetworkCase last = few(cell, 4, 1, 1);
  last.loss = "cross_entropy";
  last.initial = last.weighted = true;
  NetworkCase stacked = few(cell, 2, 3, 1);
  stacked.net.dropout = 0.3;
  stacked.net.learn_state = true;
  stacked.drop = true;
  stacked.net.recurrent_noise = naive::kind(cell).gates == 1 ? 0.2 : 0;
  stacked.steps = Steps::all;
  stacked.loss = "bce";
  NetworkCase both = few(cell, 3, 2, 2);
  both.net.outputs = 0;
  both.lengths = true;
  both.T *= 3;
  both.steps = Steps::all;
  both.loss = "mse";
  std::vector<NetworkCase> all{stream, last, stacked, both};
  for (std::size_t i = 0; i < all.size(); ++i) all[i].seed = unsigned(i + 1);
  return all;
}

// In fresh memory, which is NaN: what is read too early is seen
template <class R>
Result<R> all_calls(const NetworkCase& c, const Data& data, i64 memory_budget) {
  EngineCall<R> call(c, data);
  Result<R> out = call.loss_and_grad(memory_budget);
  EngineCall<R> by_hand(c, data), ahead(c, data);
  const auto tape = by_hand.forward();
  by_hand.read(*tape, out);
  const Result<R> back = by_hand.backward(*tape), alone = ahead.predict();
  out.params.insert(out.params.end(), back.params.begin(), back.params.end());
  out.x.insert(out.x.end(), back.x.begin(), back.x.end());
  CHECK(same_bits(alone.outputs, out.outputs));
  CHECK(same_bits(alone.last, out.last));
  for (int k = 0; k < CellInfo::most_states; ++k) CHECK(same_bits(alone.final[k], out.final[k]));
  return out;
}

template <class R>
void check_bits(NetworkCase c, std::size_t turn) {
  const Data data = naive::make_data(c, parameter_count(c.net), cell_info(c.net.cell).states);
  for_backends_in_turns(turn, [&](const std::string& backend) {
    set_num_threads(1);
    const Result<R> one = all_calls<R>(c, data, 0);
    for (const int threads : {2, 3}) {
      set_num_threads(threads);
      CHECK_MESSAGE(same_bits(all_calls<R>(c, data, 0), one), backend, " ", text(c), ": ", threads);
    }
    EngineCall<R> call(c, data);
    if (const i64 least = c.net.bidirectional ? 0 : call.engine().minimum_memory({c.B, c.T}); least)
      CHECK_MESSAGE(same_bits(all_calls<R>(c, data, least), one), backend, " ", text(c), " in ", least, " bytes");
  });
  set_num_threads(default_threads());
}

}  // namespace

TEST_CASE("sharing the units of few sequences changes no bit") {
  std::size_t turn = 0;
  for (const std::string& cell : naive::structure_names())
    for (const NetworkCase& c : cases(cell))
      ++turn % 2 ? check_bits<float>(c, turn / 2) : check_bits<double>(c, turn / 2);
}

TEST_CASE("sharing the units of pooled states and of episodes changes no bit") {
  std::size_t turn = 0;
  for (const std::string& cell : naive::structure_names()) {
    for (const Steps steps : {Steps::mean, Steps::max}) {
      NetworkCase c = few(cell, 2, 1, 1 + int(steps == Steps::max));
      const Data data = naive::make_data(c, parameter_count(c.net), cell_info(cell).states);
      for_backends_in_turns(turn++, [&](const std::string& backend) {
        Result<float> found[2];
        for (const int threads : {1, 2}) {
          set_num_threads(threads);
          EngineCall<float> call(c, data);
          call.objective.steps = steps;
          found[threads - 1] = call.loss_and_grad();
        }
        CHECK_MESSAGE(same_bits(found[0], found[1]), backend, " ", text(c));
      });
    }
    NetworkCase c = few(cell, 1, 2, 1);
    c.steps = Steps::all;
    c.loss = "mse";
    const Data data = naive::make_data(c, parameter_count(c.net), cell_info(cell).states);
    std::vector<char> resets(naive::at(c.T), 0);
    resets[naive::at(c.T / 3)] = resets[naive::at(c.T / 2)] = 1;
    for_backends_in_turns(turn++, [&](const std::string& backend) {
      Result<float> found[2];
      for (const int threads : {1, 2}) {
        set_num_threads(threads);
        EngineCall<float> call(c, data);
        call.batch.resets = reinterpret_cast<const bool*>(resets.data());
        found[threads - 1] = call.loss_and_grad();
      }
      CHECK_MESSAGE(same_bits(found[0], found[1]), backend, " ", text(c), " with resets");
    });
  }
  set_num_threads(default_threads());
}

namespace {

// A recursion of `steps` steps in which each unit counts on from all units of the step before, by two workers;
// before(worker, t) is called ahead of each step
struct Counted {
  static constexpr i64 panels = 5;
  explicit Counted(i64 steps) : steps(steps), units(naive::at(steps + 1), std::vector<i64>(panels, 0)) {}
  i64 steps;
  std::vector<std::vector<i64>> units;
  i64 done[2] = {};  // steps of each worker
  i64 alone = 0;     // steps in which worker 0 had all units

  template <class F>
  void run(UnitMeeting& meeting, Stop& stop, const F& before) {
    meeting.begin();
    Barrier barrier(2);
    const auto work = [&](int worker) {
      Recursion recursion(&meeting, stop, barrier, worker, 2, panels, 7);
      for (int repeat = 0; repeat < 2; ++repeat)
        recursion.run(3, 4, [&](UnitShare* share, i64 row0, i64 row1) {
          if (row0 != 0 || row1 != 7) return;
          for (i64 t = 0; t < steps; ++t) {
            before(worker, t);
            const i64 p0 = share ? share->panel0 : 0, p1 = share ? share->panel1 : panels;
            i64 sum = 0;
            for (const i64 unit : units[naive::at(t)]) sum += unit;
            for (i64 p = p0; p < p1; ++p) units[naive::at(t + 1)][naive::at(p)] = sum % 1000 + p;
            ++done[worker];
            if (worker == 0 && p1 - p0 == panels) ++alone;
            if (share && !share->meet(*share)) return;
          }
        });
    };
    std::thread helper(work, 1);
    work(0);
    helper.join();
  }

  bool right() const {
    i64 sum = 0;
    for (i64 t = 1; t <= steps; ++t) {
      i64 next = 0;
      for (i64 p = 0; p < panels; ++p) {
        if (units[naive::at(t)][naive::at(p)] != sum % 1000 + p) return false;
        next += sum % 1000 + p;
      }
      sum = next;
    }
    return true;
  }
};

// Whether f() holds at least once: on a busy machine any worker may be late, now and then
template <class F>
bool sometimes(const F& f) {
  for (int i = 0; i < 50; ++i)
    if (f()) return true;
  return false;
}

void sleep(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

}  // namespace

TEST_CASE("a team that shares units meets after each step") {
  UnitMeeting meeting;
  Stop stop;
  Counted counted(2000);
  counted.run(meeting, stop, [](int, i64) {});
  CHECK(counted.right());
}

TEST_CASE("a worker that is late is left out, and nothing else changes") {
  UnitMeeting meeting;
  Stop stop;
  Counted counted(100);
  counted.run(meeting, stop, [](int worker, i64 t) {
    if (worker == 1 && t == 3) sleep(100);
  });
  CHECK(counted.right());
  CHECK(counted.done[0] == 200);
  CHECK(counted.done[1] < 10);  // nothing of the second recursion
  CHECK(counted.alone > 190);
}

TEST_CASE("a worker that is late once in a long time is not left out") {
  CHECK(sometimes([] {
    UnitMeeting meeting;
    Stop stop;
    Counted counted(40);
    counted.run(meeting, stop, [](int worker, i64 t) {
      if (worker == 0) sleep(2);  // what the step takes
      if (worker == 1 && t == 30) sleep(15);
    });
    CHECK(counted.right());
    return counted.done[1] == 80;
  }));
}

TEST_CASE("nobody waits for a worker that has left a stopped call") {
  const Interruptible asked([] { return true; });
  CHECK(sometimes([] {
    UnitMeeting meeting;
    Stop stop;
    stop.begin();
    Counted counted(100);
    counted.run(meeting, stop, [&](int worker, i64 t) {
      if (worker == 1 && t == 3)
        while (!stop.reached()) std::this_thread::yield();
    });
    if (counted.done[0] >= 10) return false;  // worker 1 came so late that it was left out before
    CHECK_THROWS_AS(stop.check(), CallStopped);
    return true;
  }));
}
