// The thread pool: teams, barriers, fork, callers at the same time, the floating-point mode.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "thread_pool.h"

using namespace fastbptt;

namespace {

// Each worker adds its number in each of 50 rounds, between which they meet; true if no round was torn
bool team_works(int n) {
  std::atomic<int> sum{0}, torn{0};
  int size = 0;
  run_team(n, [&](int worker, int team, Barrier& barrier) {
    if (worker == 0) size = team;
    for (int round = 0; round < 50; ++round) {
      sum.fetch_add(worker + 1);
      barrier.meet();
      if (sum.load() != (round + 1) * team * (team + 1) / 2) torn.fetch_add(1);
      barrier.meet();
    }
  });
  return torn.load() == 0 && sum.load() == 50 * size * (size + 1) / 2;
}

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

TEST_CASE("the pool works in the child of a fork") {
  CHECK(team_works(2));
  const pid_t child = fork();
  if (child == 0) _exit(team_works(2) ? 0 : 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(team_works(2));
}

TEST_CASE("denormals are zero inside, and the caller's mode comes back") {
  REQUIRE(!denormals_are_zero());
  std::atomic<int> flushed{0};
  int size = 0;
  run_team(3, [&](int worker, int team, Barrier&) {
    if (worker == 0) size = team;
    if (denormals_are_zero()) flushed.fetch_add(1);
  });
  CHECK(flushed.load() == size);
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
