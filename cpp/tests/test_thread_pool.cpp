// The thread pool: teams, barriers, callers at the same time, the floating-point mode.
#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "denormals.h"
#include "team_work.h"
#include "thread_pool.h"

using namespace fastbptt;

namespace {

bool denormals_are_zero() {
  volatile float tiny = 1e-39F, one = 1;
  return tiny * one == 0;
}

}  // namespace

TEST_CASE("teams of every size meet at their barriers") {
  for (int n = 1; n <= 5; ++n)
    for (int repeat = 0; repeat < 20; ++repeat) CHECK(team_works(n));
}

TEST_CASE("callers at the same time") {
  std::atomic<int> failed{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 20; ++repeat)
        if (!team_works(3)) failed.fetch_add(1);
    });
  for (std::thread& t : callers) t.join();
  CHECK(failed.load() == 0);
}

#ifdef __EMSCRIPTEN__
TEST_CASE("where no thread can be started, a team is its caller alone") {
  CHECK_THROWS_AS(std::thread([] {}), std::system_error);
  CHECK(default_threads() == 1);
  const int before = get_num_threads();
  set_num_threads(4);
  int calls = 0, size = 0;
  run_team(4, [&](int worker, int team, Barrier& barrier) {
    barrier.meet();
    calls += worker + 1;
    size = team;
  });
  CHECK(calls == 1);
  CHECK(size == 1);
  set_num_threads(before);
}
#endif

TEST_CASE("denormals are zero inside, and the caller's mode comes back") {
  REQUIRE(!denormals_are_zero());
  std::atomic<int> flushed{0};
  int size = 0;
  run_team(3, [&](int worker, int team, Barrier&) {
    if (worker == 0) size = team;
    if (denormals_are_zero()) flushed.fetch_add(1);
  });
#ifdef FASTBPTT_KEEPS_DENORMALS
  CHECK(flushed.load() == 0);
#else
  CHECK(flushed.load() == size);
#endif
  CHECK(!denormals_are_zero());
}

TEST_CASE("the number of threads is checked") {
  const int before = get_num_threads();
  CHECK(before >= 1);
  for (const int n : {0, -1, 1025}) CHECK_THROWS_AS(set_num_threads(n), std::invalid_argument);
  CHECK(get_num_threads() == before);
  set_num_threads(2);
  CHECK(get_num_threads() == 2);
  set_num_threads(before);
}

namespace {

// Calls of a team, as long as `call` says, over some seconds; the mean time of a call, and how often each team ran
struct Course {
  double mean = 0;
  std::map<int, int> teams;
};

// call(team): nanoseconds that a call takes, and those that are lost in it
template <class F>
Course course(Patience& patience, int wanted, double seconds, std::int64_t& now, const F& call) {
  Course seen;
  int calls = 0;
  const std::int64_t start = now, end = now + static_cast<std::int64_t>(seconds * 1e9);
  for (; now < end; ++calls) {
    const int team = patience.limit(wanted, now);
    ++seen.teams[team];
    const auto [total, lost] = call(team);
    now += total;
    if (team > 1) patience.saw(team, total, lost, now);
  }
  seen.mean = double(now - start) / double(calls);
  return seen;
}

}  // namespace

TEST_CASE("late helpers are left out for a while, at little cost") {
  using Time = std::pair<std::int64_t, std::int64_t>;
  for (const std::int64_t alone : {100'000, 550'000, 33'000'000, 900'000'000}) {
    const std::int64_t together = alone * 6 / 10;
    Patience patience;
    std::int64_t now = 1, stalls = 0;
    const auto on_time = [&](int team) { return team == 2 ? Time{together, together / 20} : Time{alone, 0}; };
    const auto rarely_late = [&](int team) {  // a time slice in a thousand calls
      const std::int64_t slice = ++stalls % 1000 == 0 ? 4'500'000 : 0;
      return team == 2 ? Time{together + slice, together / 20 + slice} : Time{alone, 0};
    };
    const auto late = [&](int team) { return team == 2 ? Time{2 * alone, 2 * alone - together} : Time{alone, 0}; };
    CHECK(course(patience, 2, 5, now, on_time).teams.count(1) == 0);
    CHECK(course(patience, 2, 5, now, rarely_late).teams.count(1) == 0);
    CHECK(course(patience, 2, 100 * double(alone) * 1e-9 + 20, now, late).mean < 1.05 * double(alone));
    course(patience, 2, 61, now, on_time);  // the neighbour is gone
    CHECK(course(patience, 2, 5, now, on_time).teams.count(1) == 0);
  }
}

TEST_CASE("of a large team one thread is left out at a time") {
  Patience patience;
  std::int64_t now = 1;
  const auto one_busy = [](int team) {  // seven of eight processors are free
    const std::int64_t compute = 8'000'000 / team, lost = team > 7 ? 3 * compute : 0;
    return std::pair{compute + lost, lost};
  };
  Course seen = course(patience, 8, 10, now, one_busy);
  CHECK(seen.teams.size() == 2);
  CHECK(seen.teams[7] > 20 * seen.teams[8]);
  const auto three_busy = [](int team) {
    const std::int64_t compute = 8'000'000 / team, lost = team > 5 ? 3 * compute : 0;
    return std::pair{compute + lost, lost};
  };
  seen = course(patience, 8, 10, now, three_busy);
  CHECK(seen.teams[5] > 8 * (seen.teams[6] + seen.teams[7] + seen.teams[8]));
  CHECK(seen.teams[4] == 0);
  CHECK(patience.limit(3, now) == 3);  // a smaller team than the limit
}
