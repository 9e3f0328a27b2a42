#include "engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "denormals.h"
#include "errors.h"
#include "engine/backward.h"
#include "engine/forward.h"
#include "engine/packing.h"
#include "engine/layer_directions.h"
#include "engine/buffers.h"
#include "engine/inference_step.h"
#include "engine/losses.h"
#include "engine/optimizer_step.h"
#include "memory.h"
#include "thread_pool.h"

namespace fastbptt {

namespace {

std::atomic<const InstructionSet*> last_set{nullptr};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class T>
class NetworkEngine;

template <class T>
class WorkspaceTape final : public Tape {
 public:
  WorkspaceTape(Spec spec, const std::shared_ptr<WorkspacePool<T>>& pool) : spec_(std::move(spec)), w(pool) {}
  i64 batch() const override { return w->plan.callers_batch; }
  i64 time() const override { return w->plan.time; }
  i64 packed_rows() const override { return w->packed ? w->plan.rows : 0; }

  void outputs(void* out) const override {
    const i64 columns = spec_.output_width();
    const RowTarget to{out, time() * columns, columns};
    if (spec_.outputs == 0) return hidden(to);
    for_rows(to, columns, [&](i64 b, i64 t, T* row) { std::copy_n(w->y + w->plan.row(t, b) * columns, columns, row); });
  }

  void hidden(const RowTarget& out) const override {
    const Spec& s = spec_;
    for_rows(out, s.width(), [&](i64 b, i64 t, T* to) {
      for (i64 d = 0; d < s.directions(); ++d) {
        const i64 step = d ? w->plan.length(b) - 1 - t : t;
        const LayerBuffers<T>& top = w->layers[w->layers.size() - size_of(s.directions() - d)];
        read_row(*w, s.hidden, top.saved, top.panel, w->plan.batch + w->plan.row(step, b), to + d * s.hidden);
      }
    });
  }

  void last(void* out) const override {
    const i64 columns = spec_.output_width();
    for (i64 b = 0; b < w->plan.batch; ++b)
      if (w->plan.is_last(b))
        std::copy_n(w->y_last + b * columns, columns, static_cast<T*>(out) + w->plan.place(b) * columns);
  }

  void final_state(int state, void* out) const override { read_final(*w, spec_.hidden, state, static_cast<T*>(out)); }

 private:
  friend class NetworkEngine<T>;
  template <class F>
  void for_rows(const RowTarget& out, i64 columns, const F& f) const {
    for (i64 b = 0; b < w->plan.batch; ++b) {
      for (i64 t = 0; t < w->plan.length(b); ++t) f(b, t, row_of(*w, out, b, t, columns));
      clear_after_end(*w, out, b, columns);
    }
  }

  Spec spec_;
  int threads_ = 0;
  bool given_[CellInfo::most_states] = {};  // the initial states came from the caller
  BorrowedWorkspace<T> w;
  std::mutex mutex_;  // one backward pass at a time
};

// ------------------------------------------------------------------------------------------------------ network

template <class T>
class NetworkEngine final : public Engine {
 public:
  NetworkEngine(const Spec& spec, T* params)
      : net_(spec, params), pool_(std::make_shared<WorkspacePool<T>>()), updates_(trained_ranges(spec, {})) {}

  const Spec& spec() const override { return net_.spec; }

  std::unique_ptr<Tape> forward(const Batch& batch) override {
    auto tape = std::make_unique<WorkspaceTape<T>>(net_.spec, pool_);
    Workspace<T>& w = *tape->w;
    if (batch.resets != nullptr) check_resets(net_.spec.bidirectional, Steps::all, Reduction::mean);
    net_.check_weights(batch);
    begin(w, batch, {.steps = Steps::all, .input_gradient = true, .drop = net_.dropping(batch)}, 0);
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    run(w, batch.threads, [&](int worker, int team, Barrier& barrier) {
      const auto [row0, row1] = w.plan.share(worker, team);
      pack_weights(net_, w, batch.weights, true, worker, team);
      pack_initial(net_, w, batch, row0, row1);
      pack_inputs(net_, w, batch, 0, row0, row1);
      barrier.meet();
      if (worker == 0) weights.unlock();
      const OutputArgs<T> output = output_args(net_, w, false);
      forward_window(net_, w, 0, net_.fused(true) && net_.O() ? &output : nullptr, row0, row1);
      if (!net_.fused(true) && net_.O()) joined_outputs(net_, w, output, Steps::all, row0, row1);
      last_outputs(net_, w, output, w.y_last, row0, row1);
    });
    report_found(w, batch);
    for (int s = 0; s < net_.info.states; ++s) tape->given_[s] = bool(batch.initial[s]);
    tape->threads_ = batch.threads;
    return tape;
  }

  void predict(const Batch& batch, const Predictions& out) override {
    const BorrowedWorkspace<T> borrowed(pool_);
    Workspace<T>& w = *borrowed;
    const bool all{out.outputs};
    if (all && pools(out.steps)) throw ArgumentError({"steps", "pools beside outputs at all steps", "one of them"});
    if (batch.resets != nullptr) check_resets(net_.spec.bidirectional, out.steps, Reduction::mean);
    net_.check_weights(batch);
    // outputs of both directions are joined when both are done
    const Needs needs{.steps = all ? Steps::all : out.steps,
                      .keep = all && net_.D() == 2,
                      .outputs = true,
                      .drop = net_.dropping(batch)};
    begin(w, batch, needs, 0);
    const auto windows = static_cast<i64>(w.plan.windows.size());
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    if (infers(net_, w, out.steps) && !batch.weights && (!all || out.outputs.step == net_.spec.output_width())) {
      run(w, batch.threads, [&](int, int, Barrier&) { infer_sequence(net_, w, batch, out); });
      return report_found(w, batch);
    }
    run(w, batch.threads, [&](int worker, int team, Barrier& barrier) {
      const auto [row0, row1] = w.plan.share(worker, team);
      pack_weights(net_, w, batch.weights, false, worker, team);
      pack_initial(net_, w, batch, row0, row1);
      pack_inputs(net_, w, batch, 0, row0, row1);
      barrier.meet();
      if (worker == 0 && reads_once(windows)) weights.unlock();
      const OutputArgs<T> output = output_args(net_, w, false);
      for (i64 i = 0; i < windows; ++i) {
        carry_states(net_, w, i, row0, row1);
        if (i) barrier.meet();  // a row of one window may be another worker's in the next
        if (i) pack_inputs(net_, w, batch, i, row0, row1);
        forward_window(net_, w, i, net_.fused(all) ? &output : nullptr, row0, row1, out.steps);
        if (all && !net_.fused(all)) joined_outputs(net_, w, output, Steps::all, row0, row1);
        if (all) give_outputs(net_, w, i, row0, row1, out.outputs);
      }
      if (!out.one) return;
      finish_pooling(net_, w, out.steps, row0, row1);
      last_outputs(net_, w, output, w.y_last, row0, row1, out.steps);
      give_one(net_, w, row0, row1, static_cast<T*>(out.one));
    });
    report_found(w, batch);
    for (int s = 0; s < net_.info.states; ++s)
      if (out.final_state[s]) read_final(w, net_.H(), s, static_cast<T*>(out.final_state[s]));
  }

  void backward(Tape& tape, const OutputGradients& from, const GradientTargets& out) override {
    auto* kept = dynamic_cast<WorkspaceTape<T>*>(&tape);
    if (!kept || !kept->w.is_from(pool_)) throw ArgumentError({"the forward result", "belongs to another model"});
    if (from.outputs && from.last) throw ArgumentError({"d_outputs and d_last", "are both given", "one of them"});
    const std::lock_guard<std::mutex> one(kept->mutex_);
    Workspace<T>& w = *kept->w;
    const GradientSource source{.outputs = from.outputs || from.last,
                                .steps = from.outputs ? Steps::all : Steps::last,
                                .hidden = bool(from.hidden)};
    begin_backward(
        net_, w,
        {.steps = source.steps, .backward = true, .d_final = bool(from.final_state[0]), .d_hidden = source.hidden},
        false);
    inject(net_, w, from);
    place_input_gradient(w, out);
    T* gradient = static_cast<T*>(out.parameters);
    run(w, kept->threads_, [&](int number, int team, Barrier& barrier) {
      Worker worker = worker_of(w, number, team, barrier);
      spread_output_gradient(net_, w, source, worker.row0, worker.row1);
      start_gradient(net_, gradient, number, team);
      barrier.meet();
      backward_window(net_, w, worker, 0, source, out, {}, gradient);
      finish_gradient(net_, w, worker, source, out, kept->given_, gradient);
    });
    if (from.check_finite && gradient) report_gradient(gradient);
  }

  double loss(const Batch& batch, const Objective& objective) override {
    const BorrowedWorkspace<T> borrowed(pool_);
    const double value = forward_and_loss(*borrowed, batch, objective, nullptr, {}, 0);
    if (batch.check_finite) report_loss(value);
    return value;
  }

  double loss_and_grad(const Batch& batch, const Objective& objective, const GradientTargets& out, const Probes& probes,
                       i64 memory_budget) override {
    const BorrowedWorkspace<T> borrowed(pool_);
    const double value = forward_and_loss(*borrowed, batch, objective, &out, probes, memory_budget);
    if (batch.check_finite) {
      report_loss(value);
      report_gradient(static_cast<T*>(out.parameters));
    }
    return value;
  }

  double train_step(const Batch& batch, const Objective& objective, const Update& update, const Probes& probes,
                    i64 memory_budget) override {
    check(update);
    const std::lock_guard<std::mutex> one(train_mutex_);
    const BorrowedWorkspace<T> borrowed(pool_);
    Workspace<T>& w = *borrowed;
    const GradientTargets out;  // the workspace's own
    const double value = forward_and_loss(w, batch, objective, &out, probes, memory_budget);
    if (batch.check_finite) report_loss(value);
    const Clipped clipping = clipped(w.gradient, update.clip, batch.check_finite, probes.norm);
    if (update.clip.value >= 0) updates_.limit(kernels_of<T>(active()), w.gradient, update.clip.value);
    apply(*update.optimizer, w.gradient, clipping);
    for (int s = 0; s < net_.info.states; ++s)
      if (probes.final_state[s]) read_final(w, net_.H(), s, static_cast<T*>(probes.final_state[s]));
    return value;
  }

  void update(const Update& update, const void* gradient, bool check_finite) override {
    check(update);
    const std::lock_guard<std::mutex> one(train_mutex_);
    const T* g = static_cast<const T*>(gradient);
    const Clipped clipping = clipped(g, update.clip, check_finite, nullptr);
    std::vector<T> limited;
    if (update.clip.value >= 0) {
      limited.assign(g, g + net_.count);
      updates_.limit(kernels_of<T>(active()), limited.data(), update.clip.value);
      g = limited.data();
    }
    apply(*update.optimizer, g, clipping);
  }

  void freeze(const std::vector<std::string>& names) override {
    std::vector<Range> trained = trained_ranges(net_.spec, names);
    Interruptible::refuse_within();
    const std::lock_guard<std::mutex> one(train_mutex_);
    updates_.set(std::move(trained));
  }

  void step(const Array& x, void* const* state, void* y, bool check_finite, const bool* resets) override {
    if (net_.spec.bidirectional) throw ArgumentError({"a bidirectional network", "cannot go step by step"});
    const FlushDenormals mode;
    const std::shared_lock<std::shared_mutex> weights(params_mutex_);
    inference_step(net_, x, state, static_cast<T*>(y), check_finite, resets);
    last_set.store(&active(), std::memory_order_relaxed);
  }

  i64 memory_needed(const Size& size, i64 memory_budget) override {
    Workspace<T> w;
    prepare_sizes(net_, w, size);
    fit_windows(net_, w, training_needs(net_, size), memory_budget, most_elements);
    return bytes_of(net_, w, training_needs(net_, size));
  }

  i64 minimum_memory(const Size& size) override {
    Workspace<T> w;
    prepare_sizes(net_, w, size);
    return smallest(net_, w, training_needs(net_, size));
  }

  MemoryReport report() const override {
    const std::lock_guard<std::mutex> lock(report_mutex_);
    return report_;
  }

  void set_params(const void* values) override {
    Interruptible::refuse_within();
    const std::unique_lock<std::shared_mutex> lock(params_mutex_);
    std::memmove(net_.params, values, size_of(net_.count) * sizeof(T));
  }

  void get_params(void* values) override {
    const std::shared_lock<std::shared_mutex> lock(params_mutex_);
    std::memmove(values, net_.params, size_of(net_.count) * sizeof(T));
  }

 private:
  void begin(Workspace<T>& w, const Batch& batch, const Needs& needs, i64 memory_budget) {
    net_.check_initial(batch);
    prepare(net_, w, batch);
    const i64 bytes = fit_windows(net_, w, needs, memory_budget, memory_limit());
    if (!needs.keep) split_for_prediction(net_, w);
    w.keeps = needs.keep;
    begin_forward(net_, w, needs, memory_budget > 0);
    w.drop = needs.drop;
    w.dropout_seed = batch.dropout_seed;
    w.dropout = batch.dropout < 0 ? net_.spec.dropout : batch.dropout;
    w.packed = batch.packed;
    if (memory_budget > 0) {
      const std::lock_guard<std::mutex> lock(report_mutex_);
      report_ = {static_cast<i64>(w.plan.windows.size()), bytes, 0, 0};
    }
  }

  template <class F>
  void run(Workspace<T>& w, int threads, const F& f) const {
    // required operations, as in docs/performance.md; below this a second thread costs more than it gains
    constexpr double least = 4e6;
    double weights = 0;
    for (const LayerDirection& p : net_.layer_directions)
      weights += double(net_.GH()) * (2.0 * double(p.inputs) + 3.0 * double(net_.H()));
    const double work = 2.0 * double(w.plan.rows) * weights;
    const int limit = threads > 0 ? std::min(threads, get_num_threads()) : get_num_threads();
    const int most = static_cast<int>(std::min({double(limit), work / least, double(w.plan.batch)}));
    const int team = std::max(most, 1);
    w.vanished.assign(size_of(team), 0);
    w.stop.begin();
    run_team(team, f, team > 1 ? w.plan.idle(team) : 0);
    w.stop.check();
    last_set.store(w.set, std::memory_order_relaxed);
  }

  // Whether the parameters are read while they are packed, and no more: later windows read the embedding again
  bool reads_once(i64 windows) const { return windows == 1 || !net_.spec.vocabulary; }

  Worker worker_of(const Workspace<T>& w, int number, int team, Barrier& barrier) const {
    const auto [row0, row1] = w.plan.share(number, team);
    return {number,
            team,
            barrier,
            row0,
            row1,
            std::vector<char>(net_.layer_directions.size()),
            std::vector<i64>(net_.layer_directions.size())};
  }

  // out null: no gradients. Leaves them in out.parameters, or in the workspace if that is null.
  double forward_and_loss(Workspace<T>& w, const Batch& batch, const Objective& objective, const GradientTargets* out,
                          const Probes& probes, i64 memory_budget) {
    const double start = memory_budget > 0 ? now() : 0;
    double again = 0;  // seconds spent on recomputation
    const bool all = objective.steps == Steps::all;
    if (batch.resets != nullptr) check_resets(net_.spec.bidirectional, objective.steps, objective.reduction);
    if (batch.packed || batch.weights != nullptr)
      throw ArgumentError({"a packed batch, or one with weights", "has a loss", "forward and backward"});
    const Needs needs{.steps = objective.steps,
                      .keep = out || net_.D() == 2,
                      .loss = true,
                      .each_factor = objective.weighs_steps(),
                      .backward = out != nullptr,
                      .gradient = out && !out->parameters,
                      .input_gradient = out && out->x,
                      .drop = net_.dropping(batch),
                      .norms = probes.hidden || probes.gates,
                      .numbers = probes.d_hidden != nullptr};
    begin(w, batch, needs, memory_budget);
    begin_backward(net_, w, needs, memory_budget > 0);
    if (out) place_input_gradient(w, *out);
    begin_losses(net_, w, objective);
    const GradientSource source{.outputs = true, .steps = objective.steps};
    const bool pooled = pools(objective.steps);
    const auto windows = static_cast<i64>(w.plan.windows.size());
    bool given[CellInfo::most_states];
    for (int s = 0; s < CellInfo::most_states; ++s) given[s] = bool(batch.initial[s]);
    T* gradient = !out ? nullptr : out->parameters ? static_cast<T*>(out->parameters) : w.gradient;
    const std::vector<BlockArgs<T>> blocks =
        objective.is_plain() ? std::vector<BlockArgs<T>>() : block_args(w, objective);
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    run(w, batch.threads, [&](int number, int team, Barrier& barrier) {
      Worker worker = worker_of(w, number, team, barrier);
      const i64 row0 = worker.row0, row1 = worker.row1;
      OutputArgs<T> output = output_args(net_, w, out != nullptr);
      if (blocks.empty())
        add_loss(w, objective.blocks[0], w.blocks[0], output);
      else
        add_blocks(w, blocks, output);
      if (pooled) output.dh = nullptr;
      const auto window_forward = [&](i64 i, Steps pooling) {
        if (all) pack_targets(w, objective, batch.check_finite, i, row0, row1);
        forward_window(net_, w, i, net_.fused(all) ? &output : nullptr, row0, row1, pooling);
        if (all && !net_.fused(all)) joined_outputs(net_, w, output, Steps::all, row0, row1);
      };
      pack_weights(net_, w, nullptr, out != nullptr, number, team);
      pack_initial(net_, w, batch, row0, row1);
      pack_inputs(net_, w, batch, 0, row0, row1);
      start_losses(w, row0, row1);
      if (!all) pack_targets(w, objective, batch.check_finite, 0, row0, row1);
      if (out) start_gradient(net_, gradient, number, team);
      barrier.meet();
      if (number == 0 && reads_once(windows)) weights.unlock();
      for (i64 i = 0; i < windows; ++i) {
        out ? keep_checkpoint(net_, w, i, row0, row1) : carry_states(net_, w, i, row0, row1);
        if (i) barrier.meet();  // a row of one window may be another worker's in the next
        if (i) pack_inputs(net_, w, batch, i, row0, row1);
        window_forward(i, objective.steps);
      }
      if (pooled) finish_pooling(net_, w, objective.steps, row0, row1);
      if (!all) last_outputs(net_, w, output, w.y, row0, row1, objective.steps);
      if (!out) return;
      if (pooled)
        pooled_gradient(net_, w, objective.steps, row0, row1);
      else if (net_.D() == 2)
        spread_output_gradient(net_, w, source, row0, row1);
      output.loss_sum = w.idle_sum;
      for (i64 i = windows - 1; i >= 0; --i) {
        if (i < windows - 1) {
          const double before = now();
          restore_checkpoint(net_, w, i, row0, row1);
          barrier.meet();
          pack_inputs(net_, w, batch, i, row0, row1);
          window_forward(i, Steps::last);  // pooled before
          if (number == 0) again += now() - before;
        }
        backward_window(net_, w, worker, i, source, *out, probes, gradient);
      }
      finish_gradient(net_, w, worker, source, *out, given, gradient);
    });
    report_found(w, batch);
    if (w.found.y) report_targets(w, objective, batch.check_finite);
    if (memory_budget > 0) {
      const std::lock_guard<std::mutex> lock(report_mutex_);
      report_.seconds = now() - start;
      report_.recompute_seconds = again;
    }
    return total_loss(w, objective);
  }

  static void check(const Update& update) {
    const Clip& clip = update.clip;
    update.optimizer->check();
    Interruptible::refuse_within();
    if (clip.value >= 0 && clip.norm >= 0)
      throw ArgumentError({"clip.value and clip.norm", "are both given", "one of them"});
    if (clip.value >= 0) rounded<T>("clip_value", clip.value);
  }

  // scale reduces the norm to clip.norm; after that, and clipping by value, no element is larger than most (below 0:
  // not asked for)
  struct Clipped {
    double scale = 1, most = -1;
  };

  // Throws for a gradient that is not finite. norm_out receives the norm, unless null.
  Clipped clipped(const T* gradient, const Clip& clip, bool check, double* norm_out) {
    if (!check && clip.norm < 0 && !norm_out) return {};
    const double total = updates_.squares(kernels_of<T>(active()), gradient);
    if (check && !std::isfinite(total)) {
      report_flat(gradient, "the gradient of ", updates_.trained());
      throw ArgumentError({"the norm of the gradient", "overflows"});
    }
    const double norm = std::sqrt(total);
    if (norm_out) *norm_out = norm;
    const double scale = clip.norm >= 0 && norm > clip.norm ? clip.norm / norm : 1;
    if (!check) return {scale, -1};
    return {scale, clip.value >= 0 ? std::min(norm, clip.value) : norm * scale};
  }

  void apply(OptimizerState& optimizer, const T* gradient, const Clipped& clipping) {
    const OptimizerKernels<T>& rule = optimizer_of<T>(active(), optimizer.rule);
    const std::unique_lock<std::shared_mutex> lock(params_mutex_);
    updates_.apply(kernels_of<T>(active()), rule, optimizer, net_.params, gradient, clipping.scale, clipping.most);
  }

  // Throws for errors found by packing
  void report_found(const Workspace<T>& w, const Batch& batch) const {
    report_inputs(net_, w, batch);
    if (!batch.check_finite || !w.found.weights) return;
    const std::shared_lock<std::shared_mutex> lock(params_mutex_);
    report_flat(net_.params, "parameter ", whole());
    throw ArgumentError({"a parameter", "held a value that is not finite, and changed during the call"});
  }

  void report_gradient(const T* gradient) const { report_flat(gradient, "the gradient of ", whole()); }

  std::vector<Range> whole() const { return {{0, net_.count}}; }

  // Throws for the first value in these ranges that is not finite
  void report_flat(const T* values, const std::string& what, const std::vector<Range>& ranges) const {
    for (const Range& range : ranges)
      for (i64 i = range.from; i < range.to; ++i) {
        if (std::isfinite(values[i])) continue;
        const std::vector<Parameter> all = layout(net_.spec);
        const Parameter& p = *std::find_if(all.rbegin(), all.rend(), [i](const Parameter& q) { return q.offset <= i; });
        const i64 place = i - p.offset, columns = p.shape.back();
        p.shape.size() == 2 ? throw_not_finite(what + p.name, double(values[i]), {place / columns, place % columns})
                            : throw_not_finite(what + p.name, double(values[i]), {place});
      }
  }

  static void report_loss(double value) {
    if (std::isfinite(value)) return;
    throw ArgumentError({.argument = "the loss", .problem = "is not finite (" + number(value) + ")", .value = value});
  }

  Net<T> net_;
  std::shared_ptr<WorkspacePool<T>> pool_;
  std::mutex train_mutex_;  // serialises updates
  ParameterUpdates<T> updates_;
  mutable std::mutex report_mutex_;
  MemoryReport report_;
  mutable std::shared_mutex params_mutex_;  // shared while the weights are packed, exclusive while they change
};

}  // namespace

std::unique_ptr<Engine> make_engine(const Spec& spec, Dtype dtype, void* params) {
  if (dtype == Dtype::f32) return std::make_unique<NetworkEngine<float>>(spec, static_cast<float*>(params));
  if (spec.bfloat16 && dtype != Dtype::f32) throw ArgumentError({"bfloat16", "is given for float64", "float32"});
  if (dtype == Dtype::f64) return std::make_unique<NetworkEngine<double>>(spec, static_cast<double*>(params));
  throw ArgumentError({"dtype", "is int64", "float32 or float64"});
}

const char* proof_of_backend() {
  const InstructionSet* set = last_set.load(std::memory_order_relaxed);
  return set ? set->name : "";
}

}  // namespace fastbptt
