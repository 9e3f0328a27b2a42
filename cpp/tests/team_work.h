// A task for a team that fails if the team is torn.
#ifndef FASTBPTT_TESTS_TEAM_WORK_H
#define FASTBPTT_TESTS_TEAM_WORK_H

#include <atomic>

#include "thread_pool.h"

// Each worker adds its number in each of 50 rounds, between which they meet; true if no round was torn
inline bool team_works(int n) {
  std::atomic<int> sum{0}, torn{0};
  int size = 0;
  fastbptt::run_team(n, [&](int worker, int team, fastbptt::Barrier& barrier) {
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

#endif
