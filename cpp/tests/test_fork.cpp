// The child of a fork, on systems that have fork.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include "team_work.h"

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
