// Steps of several networks of one architecture in one pass, each in a lane of its own: group b of a step's rows is row
// b of all their batches. Every number is computed as in a step of that network alone.
#ifndef FASTBPTT_ENGINE_TOGETHER_H
#define FASTBPTT_ENGINE_TOGETHER_H

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "engine/backward.h"
#include "engine/buffers.h"
#include "engine/constraints.h"
#include "engine/forward.h"
#include "engine/losses.h"
#include "engine/packing.h"

namespace fastbptt {

// Some steps of networks alike, at most as many as a vector has lanes
class JointSteps {
 public:
  JointSteps() = default;
  virtual ~JointSteps() = default;
  JointSteps(const JointSteps&) = delete;
  JointSteps& operator=(const JointSteps&) = delete;
  virtual void run() = 0;  // losses and gradients, by one worker of a team; does not throw
  // The updates, with their errors. Throws CallStopped; adds those to `left_out` that have to go by themselves
  virtual void finish(std::vector<TrainingStep*>& left_out) = 0;
};

// What train_together asks of an engine
class OneOfSeveral : public Engine {
 public:
  virtual std::mutex& training() = 0;          // held by the caller of the others
  virtual i64 lanes() const = 0;               // of a vector
  virtual double work(double rows) const = 0;  // operations of a step
  virtual bool passes_checks(const Update& update) = 0;
  virtual std::unique_ptr<JointSteps> make_pass(
      const std::vector<TrainingStep*>& steps) = 0;  // in this engine's memory
  virtual double step_alone(const TrainingStep& step) = 0;
};

// One of the networks of a pass
template <class T>
struct Participant {
  const Net<T>* net = nullptr;
  std::shared_mutex* lock = nullptr;  // of its parameters
  TrainingStep* step = nullptr;
  PenaltyTerms<T> penalties = {};
  std::vector<T> gradient = {};  // out
  bool left_out = false;         // out: something is wrong with its arguments or parameters
};

// The layout of a pass: sums run over the same blocks of time as those of one network alone, and where that has its
// rows in lanes, over each row by itself
template <class T>
[[gnu::cold]] void prepare_together(const Net<T>& net, Workspace<T>& w, const Batch& batch, const Needs& needs) {
  prepare_set(net, w, active());
  const i64 B = batch.x.shape[0], time = batch.x.shape[1], V = kernels_for(w).vector;
  const Grouping alone = grouping_of(net, w, needs, B);
  const bool groups = alone.rows > 1 && alone.pays(B);
  w.rows_alone = groups ? (B + V - 1) / V * V : B;
  set_lanes_apart(w, V, groups ? B : 1);
  const i64 block = std::max<i64>((groups && alone.block ? alone.block : rows_per_block) / w.rows_alone, 1) * B * V;
  w.plan.make(B * V, time, nullptr, nullptr, block, {V, std::numeric_limits<double>::infinity(), 1, block});
  for (i64 row = 0; row < B * V; ++row) w.plan.places[size_of(row)] = row / V;
  choose_layout(net, w);
}

// The sums of rows apart, as the sum over the lanes that they would have been
template <class T>
void join_sums(T* sums, i64 chains, i64 chain, i64 lanes) {
  for (i64 width = lanes / 2; width > 0 && chains > 1; width /= 2)
    for (i64 i = 0; i < std::min(width, chains); ++i)
      for (i64 k = 0; k < chain; ++k) sums[i * chain + k] += i + width < chains ? sums[(i + width) * chain + k] : T(0);
}

// The gradient of the network in a lane, into its flat buffer
template <class T>
[[gnu::cold]] void own_gradient(const Workspace<T>& w, const GradientSource& source, i64 lane, Participant<T>& one) {
  const Net<T>& net = *one.net;
  const Batch& batch = one.step->batch;
  const i64 H = net.H(), V = w.lanes;
  one.gradient.resize(size_of(net.count));
  T* const gradient = one.gradient.data();
  for (std::size_t i = 0; i < net.layer_directions.size(); ++i)
    unpack_lanes(net, w, i, source, nullptr, gradient, lane);
  for (int s = net.info.given; net.spec.learn_state && s < net.info.states; ++s)
    for (i64 j = 0; j < net.spec.state_rows() * H; ++j) {
      double total = 0;
      for (i64 b = lane; !batch.initial[s] && b < w.plan.batch; b += V)
        total += double(w.d_initial[s][(j / H * w.plan.batch + b) * H + j % H]);
      gradient[net.initial[s] + j] = T(total);
    }
  for (i64 o = 0; net.spec.has_output_bias() && o < net.O(); ++o) {
    double total = w.db_y[o * V + lane];
    for (i64 b = lane; !source.all_steps() && b < w.plan.batch; b += V) total += double(w.dy[b * net.O() + o]);
    gradient[net.b_y + o] = T(total);
  }
}

// Losses and gradients; the losses stand in the sums of w
template <class T>
[[gnu::cold]] void pass_together(Workspace<T>& w, std::vector<Participant<T>>& members) {
  const Net<T>& net = *members[0].net;
  const Batch& batch = members[0].step->batch;
  const Objective& objective = members[0].step->objective;
  const bool all = objective.steps == Steps::all;
  const Needs needs{.steps = objective.steps, .loss = true, .each_factor = objective.weighs_steps(), .backward = true};
  prepare_together(net, w, batch, needs);
  fit_windows(net, w, needs, 0, 0);
  begin_forward(net, w, needs, false);
  begin_backward(net, w, needs, false);
  w.keeps = true;
  w.drop = w.packed = w.zones = w.zone_draws = w.shares_units = false;
  w.input_noise = w.recurrent_noise = 0;
  begin_activity(net, w, {});
  begin_losses(net, w, objective);
  w.vanished.assign(1, 0);
  w.stop.begin();
  const i64 rows = w.plan.batch, V = w.lanes;
  const Batch* batches[most_lanes];
  std::fill_n(batches, most_lanes, &members.front().step->batch);
  for (i64 lane = 0; lane < V; ++lane) {  // those without a network repeat the last one
    Participant<T>& one = members[std::min(size_of(lane), members.size() - 1)];
    const TrainingStep& step = *one.step;
    batches[lane] = &step.batch;
    w.found.clear();
    {
      const std::shared_lock<std::shared_mutex> reading(*one.lock);
      if (!step.objective.penalties.empty()) one.penalties.keep(one.net->params);
      for (std::size_t i = 0; i < net.layer_directions.size(); ++i) {
        const DirectionWeights<T> weights(*one.net, net.layer_directions[i], w.layers[i], nullptr);
        pack_lanes(*one.net, w, net.layer_directions[i], weights, w.layers[i], true, lane);
        if (net.info.setting) pack_setting(*one.net, w, i, lane);
      }
      pack_rest(*one.net, w, lane);
      pack_initial(*one.net, w, step.batch, lane, rows, V);
    }
    try {
      weigh(w, step.objective, lane, V);
    } catch (const ArgumentError&) {
      one.left_out = true;
    }
    pack_targets(w, step.objective, step.batch.check_finite, 0, lane, rows, V);
    one.left_out |= w.found.y || (step.batch.check_finite && (w.found.weights || w.found.initial));
  }
  bool bad[most_lanes] = {};
  pack_lane_inputs(net, w, batches, 0, 0, rows, bad);
  for (std::size_t m = 0; m < members.size(); ++m) members[m].left_out |= bad[m] && members[m].step->batch.check_finite;
  start_losses(w, 0, rows);
  OutputArgs<T> output = output_args(net, w, true);
  const std::vector<BlockArgs<T>> blocks =
      objective.is_plain() ? std::vector<BlockArgs<T>>() : block_args(w, objective);
  if (blocks.empty())
    add_loss(w, objective.blocks[0], w.blocks[0], output);
  else
    add_blocks(w, blocks, output);
  Barrier barrier(1);
  Recursion recursion(nullptr, w.stop, barrier, 0, 1, 1, rows);
  forward_window(net, w, recursion, 0, all ? &output : nullptr, 0, rows);
  if (!all) last_outputs(net, w, output, w.y, 0, rows);
  const GradientSource source{.outputs = true, .steps = objective.steps};
  Worker worker{
      0, 1, barrier, recursion, 0, rows, std::vector<char>(w.layers.size()), std::vector<i64>(w.layers.size())};
  backward_window(net, w, worker, 0, source, {}, {}, static_cast<T*>(nullptr));
  const std::size_t top = size_of(net.top());
  if (!all && net.O()) output_gradient(net, w, worker, top, w.layers[top].last, 0, 0, w.dy, {0, 0, rows}, false);
  for (std::size_t i = 0; i < w.layers.size(); ++i) {
    const LayerDirection& dir = net.layer_directions[i];
    join_sums(w.layers[i].dw, w.chains, lane_sums(net, w, dir), V);
    join_sums(w.layers[i].dw_y, w.chains, net.readout_of(dir) * net.H() * V, V);
  }
  for (std::size_t m = 0; m < members.size(); ++m) own_gradient(w, source, static_cast<i64>(m), members[m]);
}

}  // namespace fastbptt

#endif
