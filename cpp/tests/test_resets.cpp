// Resets inside a sequence: each episode is a sequence of its own.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "calls.h"
#include "engine/workspace.h"
#include "naive.h"
#include "thread_pool.h"

using namespace fastbptt;
using calls::EngineCall;
using calls::for_backends_in_turns;
using calls::same_bits;
using naive::at;
using naive::Data;
using naive::NetworkCase;
using naive::Result;

namespace {

// vector<bool> has no array
struct Marks {
  Marks(i64 batch, i64 time, double share, unsigned seed) : values(new bool[at(batch * time)]) {
    std::mt19937 random(seed);
    for (i64 i = 0; i < batch * time; ++i)
      count += values[at(i)] = std::uniform_real_distribution<double>()(random) < share;
  }
  std::unique_ptr<bool[]> values;
  i64 count = 0;
};

NetworkCase make(const std::string& cell, i64 B, i64 T) {
  NetworkCase c;
  c.net.cell = cell;
  c.net.inputs = 3;
  c.net.hidden = 18;
  c.net.outputs = 2;
  c.net.layers = 2;
  naive::give_setting(c.net, 0.3);
  c.net.learn_state = true;
  c.steps = Steps::all;
  c.lengths = true;
  c.B = B;
  c.T = T;
  return c;
}

Data data_of(const NetworkCase& c) { return naive::make_data(c, parameter_count(c.net), cell_info(c.net.cell).states); }

struct Episode {
  i64 row, from, length;
};

std::vector<Episode> episodes_of(const NetworkCase& c, const Data& data, const bool* marks) {
  std::vector<Episode> all;
  for (i64 b = 0; b < c.B; ++b)
    for (i64 t = 0; t < data.lengths[at(b)]; ++t) {
      if (t == 0 || marks[b * c.T + t]) all.push_back({b, t, 0});
      ++all.back().length;
    }
  return all;
}

// The same steps, an episode in each row
std::pair<NetworkCase, Data> apart(const NetworkCase& c, const Data& data, const std::vector<Episode>& all) {
  NetworkCase own = c;
  own.B = static_cast<i64>(all.size());
  own.T = 0;
  for (const Episode& e : all) own.T = std::max(own.T, e.length);
  Data found = data_of(own);
  found.params = data.params;
  for (i64 e = 0; e < own.B; ++e) {
    const Episode& one = all[at(e)];
    found.lengths[at(e)] = one.length;
    for (const auto& [from, to, width] :
         {std::tuple{&data.x, &found.x, c.net.inputs}, {&data.y, &found.y, c.net.outputs}})
      std::copy_n(from->begin() + (one.row * c.T + one.from) * width, one.length * width,
                  to->begin() + e * own.T * width);
  }
  return {own, found};
}

}  // namespace

TEST_CASE("episodes in rows are the same episodes alone, to the bit") {
  std::size_t turn = 0;
  for (const std::string& cell : naive::structure_names())
    for (const double share : {0.02, 0.2, 1.0})
      for_backends_in_turns(turn++, [&](const std::string& backend) {
        const std::string name = backend + " " + cell + " " + std::to_string(share);
        const NetworkCase c = make(cell, 7, 60);
        const Data data = data_of(c);
        const Marks marks(c.B, c.T, share, 3);
        const std::vector<Episode> all = episodes_of(c, data, marks.values.get());
        const auto [own, given] = apart(c, data, all);
        EngineCall<float> packed(c, data), alone(own, given);
        packed.batch.resets = marks.values.get();
        const Result<float> expected = alone.loss_and_grad();
        for (const int threads : {1, 2, 3}) {
          set_num_threads(threads);
          const Result<float> found = packed.loss_and_grad();
          CHECK_MESSAGE(found.loss == expected.loss, name);
          CHECK_MESSAGE(same_bits(found.params, expected.params), name);
          for (i64 e = 0; e < own.B; ++e)
            CHECK(std::equal(expected.x.begin() + e * own.T * c.net.inputs,
                             expected.x.begin() + (e * own.T + all[at(e)].length) * c.net.inputs,
                             found.x.begin() + (all[at(e)].row * c.T + all[at(e)].from) * c.net.inputs));
          const i64 budget = packed.engine().minimum_memory({c.B, c.T, marks.count});
          CHECK(same_bits(packed.loss_and_grad(budget), found));
        }
        set_num_threads(1);
        Result<float> seen, other;
        packed.read(*packed.forward(), seen);
        alone.read(*alone.forward(), other);
        for (i64 e = 0; e < own.B; ++e) {
          const Episode& one = all[at(e)];
          CHECK(std::equal(other.hidden.begin() + e * own.T * c.net.hidden,
                           other.hidden.begin() + (e * own.T + one.length) * c.net.hidden,
                           seen.hidden.begin() + (one.row * c.T + one.from) * c.net.hidden));
          if (one.from + one.length == data.lengths[at(one.row)])
            CHECK(std::equal(other.last.begin() + e * c.net.outputs, other.last.begin() + (e + 1) * c.net.outputs,
                             seen.last.begin() + one.row * c.net.outputs));
        }
      });
}

TEST_CASE("sizes of a plan with resets are bounds") {
  unsigned seed = 0;
  for (const i64 batch : {1, 3, 64, 600})
    for (const i64 time : {1, 2, 100, 1025})
      for (const double share : {0.003, 0.1, 1.0}) {
        const Marks marks(batch, time, share, ++seed);
        BatchPlan plan, sizes;
        plan.make(batch, time, nullptr, marks.values.get(), 512);
        sizes.make_sizes(batch, time, std::max<i64>(marks.count, 1), 512);
        CHECK(plan.callers_batch == sizes.callers_batch);
        CHECK(plan.rows == sizes.rows);
        CHECK(plan.batch <= sizes.batch);
        CHECK(plan.block_rows <= sizes.block_rows);
        CHECK(plan.block_count <= sizes.block_count);
        const i64 most = plan.block_count;
        for (const i64 windows : {i64(1), i64(2), i64(3), i64(7), most}) {
          if (windows > most) continue;
          plan.split_windows(windows);
          sizes.split_windows(windows);
          CHECK(plan.window_rows <= sizes.window_rows);
          CHECK(plan.bytes() <= sizes.bytes());
        }
      }
}
