#include "engine/together.h"

#include <algorithm>
#include <functional>
#include <typeinfo>

#include "errors.h"
#include "thread_pool.h"

namespace fastbptt {

namespace {

OneOfSeveral& engine_of(const TrainingStep& step) { return static_cast<OneOfSeveral&>(*step.engine); }

[[gnu::cold]] bool may_go_with_others(const Spec& s) {
  return s.hidden <= most_lane_units && s.outputs <= most_lane_outputs && !s.bidirectional && !s.bfloat16 &&
         !s.vocabulary && !s.static_size && !s.rank && !s.has_zoneout();
}

// Whether a step may be one of several in a pass; what would throw goes by itself, and throws there
[[gnu::cold]] bool goes_with_others(const TrainingStep& step) {
  const Batch& batch = step.batch;
  return may_go_with_others(step.engine->spec()) && !batch.drop && !batch.noise && batch.resets == nullptr &&
         !batch.packed && batch.weights == nullptr && !pools(step.objective.steps) && !step.objective.activity &&
         (!batch.lengths || std::all_of(batch.lengths, batch.lengths + batch.x.shape[0],
                                        [&](i64 length) { return length == batch.x.shape[1]; })) &&
         engine_of(step).passes_checks(step.update);
}

[[gnu::cold]] bool same_loss(const OutputBlock& a, const OutputBlock& b) {
  return a.loss->index == b.loss->index && a.loss->list == b.loss->list &&
         std::equal(std::begin(a.loss->parameters), std::end(a.loss->parameters), b.loss->parameters) &&
         a.first == b.first && a.width == b.width && a.weight == b.weight && a.weighs_steps() == b.weighs_steps();
}

// Whether two of those may be in the same pass
[[gnu::cold]] bool alike(const TrainingStep& a, const TrainingStep& b) {
  return a.batch.x.shape[0] == b.batch.x.shape[0] && a.batch.x.shape[1] == b.batch.x.shape[1] &&
         a.objective.steps == b.objective.steps && a.objective.blocks.size() == b.objective.blocks.size() &&
         typeid(*a.engine) == typeid(*b.engine) && a.engine->spec() == b.engine->spec() &&
         std::equal(a.objective.blocks.begin(), a.objective.blocks.end(), b.objective.blocks.begin(), same_loss);
}

// Whether a pass of so many is faster than their steps one after the other. It takes as long as the steps of so many
// networks alone: docs/performance.md, "Several networks in one pass"
bool pays(i64 hidden, i64 batch, i64 time, i64 count, i64 lanes) {
  constexpr double most = 4e6;  // states, for each of which some eight numbers are kept
  if (batch >= lanes || double(batch) * double(time) * double(lanes * hidden) > most) return false;
  return double(count) > (1.4 + 0.33 * double(hidden)) * (0.8 + 0.2 * double(batch));
}

// Throws if one is there twice
[[gnu::cold]] void sort(std::vector<void*>& all, const char* what) {
  std::sort(all.begin(), all.end(), std::less<>());
  if (std::adjacent_find(all.begin(), all.end()) != all.end())
    throw ArgumentError({what, "is there twice", "another one for each step"});
}

OneOfSeveral& engine_at(void* address) { return *static_cast<OneOfSeveral*>(address); }

// All engines' training, in one order, so that no two calls wait for each other
class TrainingLocks {
 public:
  explicit TrainingLocks(const std::vector<void*>& engines) : engines_(engines) {
    for (void* engine : engines_) engine_at(engine).training().lock();
  }
  ~TrainingLocks() {
    for (void* engine : engines_) engine_at(engine).training().unlock();
  }
  TrainingLocks(const TrainingLocks&) = delete;
  TrainingLocks& operator=(const TrainingLocks&) = delete;

 private:
  const std::vector<void*>& engines_;
};

}  // namespace

i64 networks_together(Engine& engine, i64 batch, i64 time, i64 count) {
  const Spec& s = engine.spec();
  const i64 lanes = static_cast<OneOfSeveral&>(engine).lanes(), most = std::min(count, lanes);
  return may_go_with_others(s) && pays(s.hidden, batch, time, most, lanes) ? most : 1;
}

[[gnu::cold]] void train_together(std::vector<TrainingStep>& steps) {
  std::vector<void*> optimizers, engines;
  std::vector<TrainingStep*> waiting, pass, rest;
  for (TrainingStep& step : steps) {
    step.error = nullptr;
    step.together = 1;
    optimizers.push_back(step.update.optimizer);
    engines.push_back(&engine_of(step));
  }
  sort(optimizers, "optimizer");
  sort(engines, "model");
  const TrainingLocks locks(engines);
  for (TrainingStep& step : steps) (goes_with_others(step) ? waiting : rest).push_back(&step);
  // as many passes at a time as there may be workers, then their updates
  std::vector<std::unique_ptr<JointSteps>> joint(static_cast<std::size_t>(threads_of_call()));
  std::vector<TrainingStep*> hosts;  // in whose memory they are
  while (!waiting.empty()) {
    double work = 0;
    std::size_t count = 0;
    for (std::size_t left = 0; count < joint.size() && !waiting.empty(); left = 0) {
      TrainingStep& first = *waiting[0];
      OneOfSeveral& engine = engine_of(first);
      pass.clear();
      for (TrainingStep* step : waiting)
        if (static_cast<i64>(pass.size()) < engine.lanes() && alike(first, *step))
          pass.push_back(step);
        else
          waiting[left++] = step;
      waiting.resize(left);
      const i64 rows = first.batch.x.shape[0];
      if (!pays(engine.spec().hidden, rows, first.batch.x.shape[1], static_cast<i64>(pass.size()), engine.lanes())) {
        for (TrainingStep* step : pass) rest.push_back(step);
        continue;
      }
      if (hosts.size() == count) hosts.push_back(&first);
      const TrainingStep& host = *hosts[count];  // buffers are laid out for one architecture
      joint[count++] = engine_of(alike(host, first) ? host : first).make_pass(pass);
      work += engine.work(double(rows * first.batch.x.shape[1] * engine.lanes()));
    }
    if (count == 0) break;
    run_team(workers_for(work, static_cast<i64>(count)), [&](int worker, int workers, Barrier&) {
      for (auto i = static_cast<std::size_t>(worker); i < count; i += static_cast<std::size_t>(workers))
        joint[i]->run();
    });
    for (std::size_t i = 0; i < count; ++i) {
      joint[i]->finish(rest);
      joint[i].reset();
    }
  }
  for (TrainingStep* step : rest) try {
      step->together = 1;
      step->loss = engine_of(*step).step_alone(*step);
    } catch (const CallStopped&) {
      throw;
    } catch (...) {
      step->error = std::current_exception();
    }
}

}  // namespace fastbptt
