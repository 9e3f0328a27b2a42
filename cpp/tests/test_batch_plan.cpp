// The distribution of the sequences over teams of up to 128 workers, simulated: nobody has much more to do than others.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/workspace.h"

using namespace fastbptt;

namespace {

using Lengths = std::vector<i64>;

// What the workers have to do, in steps of sequences; checks that each sequence has one worker
std::vector<i64> loads(const BatchPlan& plan, int team) {
  std::vector<i64> found;
  i64 next = 0;
  for (int worker = 0; worker < team; ++worker) {
    const auto [from, to] = plan.share(worker, team);
    REQUIRE(from == next);
    REQUIRE(to >= from);
    next = to;
    found.push_back(std::accumulate(plan.lengths.begin() + from, plan.lengths.begin() + to, i64(0)));
  }
  REQUIRE(next == plan.batch);
  return found;
}

i64 longest(const Lengths& lengths) { return *std::max_element(lengths.begin(), lengths.end()); }

BatchPlan plan_of(const Lengths& lengths) {
  BatchPlan plan;
  plan.make(static_cast<i64>(lengths.size()), longest(lengths), lengths.data(), nullptr, 512);
  return plan;
}

// The smallest largest sum of any `team` stretches, by trying all ends of the last one
i64 smallest(const Lengths& lengths, int team) {
  const std::size_t n = lengths.size();
  Lengths best(n + 1, most_elements);
  best[0] = 0;
  for (int worker = 0; worker < team; ++worker) {
    Lengths with(n + 1, most_elements);
    for (std::size_t to = 0; to <= n; ++to) {
      i64 sum = 0;
      for (std::size_t from = to;; sum += lengths[--from]) {
        with[to] = std::min(with[to], std::max(best[from], sum));
        if (from == 0) break;
      }
    }
    best = with;
  }
  return best[n];
}

struct Distribution {
  std::string name;
  std::function<i64(i64 i, std::mt19937& random)> length;
};

const std::vector<Distribution> distributions = {
    {"equal", [](i64, std::mt19937&) { return i64(100); }},
    {"uniform", [](i64, std::mt19937& random) { return std::uniform_int_distribution<i64>(1, 200)(random); }},
    {"few lengths", [](i64 i, std::mt19937&) { return i % 2 ? i64(20) : i64(200); }},
    {"geometric",
     [](i64, std::mt19937& random) { return std::min<i64>(1 + std::geometric_distribution<i64>(0.02)(random), 400); }},
    {"one long", [](i64 i, std::mt19937&) { return i == 3 ? i64(1000) : i64(50); }},
};

}  // namespace

TEST_CASE("no worker has 5 % more to do than it must, where rows allow it") {
  // They do with 32 sequences for each worker: some tiles of rows, and one more or less is 3 % of them. The largest
  // share can be neither below the mean nor below the longest sequence.
  std::mt19937 random(1);
  int allowed = 0;
  for (const Distribution& distribution : distributions)
    for (const i64 batch : {1, 5, 32, 64, 100, 256, 1000, 4096, 8192}) {
      Lengths lengths;
      for (i64 i = 0; i < batch; ++i) lengths.push_back(distribution.length(i, random));
      BatchPlan plan = plan_of(lengths);
      const double rows = double(std::accumulate(lengths.begin(), lengths.end(), i64(0)));
      for (int team = 1; team <= std::min<i64>(128, batch); ++team) {
        plan.divide(team);
        const std::vector<i64> found = loads(plan, team);
        const double mean = rows / team, most = double(*std::max_element(found.begin(), found.end()));
        INFO(distribution.name, ": ", batch, " sequences, ", team, " workers");
        CHECK(most < mean + double(longest(lengths)));
        if (batch < 32 * team) continue;
        ++allowed;
        CHECK(most <= 1.05 * std::max(mean, double(longest(lengths))));
      }
    }
  CHECK(allowed > 1000);
}

TEST_CASE("a single long sequence has a worker of its own") {
  Lengths lengths(640, 10);
  lengths[17] = 5000;
  BatchPlan plan = plan_of(lengths);
  plan.divide(8);
  const std::vector<i64> found = loads(plan, 8);
  CHECK(found[0] == 5000);
  for (std::size_t worker = 1; worker < 8; ++worker) CHECK(std::abs(double(found[worker]) - 6390.0 / 7) < 10);
}

TEST_CASE("no other stretches have a smaller largest sum") {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    Lengths lengths(std::uniform_int_distribution<std::size_t>(1, 24)(random));
    for (i64& length : lengths) length = std::uniform_int_distribution<i64>(1, round % 3 ? 9 : 1000)(random);
    if (round % 2) std::sort(lengths.begin(), lengths.end(), std::greater<>());
    for (const int team : {1, 2, 3, 7, 30}) {
      const std::vector<i64> bounds = stretches_of(lengths.data(), static_cast<i64>(lengths.size()), team);
      REQUIRE(bounds.size() == static_cast<std::size_t>(team) + 1);
      CHECK(bounds.front() == 0);
      CHECK(bounds.back() == static_cast<i64>(lengths.size()));
      i64 most = 0;
      for (std::size_t w = 0; w + 1 < bounds.size(); ++w) {
        REQUIRE(bounds[w] <= bounds[w + 1]);
        most = std::max(most, std::accumulate(lengths.begin() + bounds[w], lengths.begin() + bounds[w + 1], i64(0)));
      }
      CHECK(most == smallest(lengths, team));
    }
  }
}

TEST_CASE("a team that is smaller than the plan was divided for covers all sequences") {
  BatchPlan plan = plan_of({9, 8, 7, 3, 3, 2, 1, 1});
  for (const int divided : {2, 5, 8}) {
    plan.divide(divided);
    for (int team = 1; team <= 8; ++team) {
      const std::vector<i64> found = loads(plan, team);
      CHECK(std::accumulate(found.begin(), found.end(), i64(0)) == plan.rows);
    }
  }
  const Lengths others = {4, 4, 4, 1};  // a new plan is not cut where the old one was
  plan.make(4, 4, others.data(), nullptr, 512);
  CHECK(loads(plan, 2) == std::vector<i64>{8, 5});
}
