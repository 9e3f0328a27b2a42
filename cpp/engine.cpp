#include "engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>
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
#include "engine/constraints.h"
#include "engine/inference_step.h"
#include "engine/losses.h"
#include "engine/optimizer_step.h"
#include "engine/together.h"
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
        read_row(*w, s.hidden, top.saved, top.panel, w->plan.lead() + w->plan.row(step, b), to + d * s.hidden);
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
class NetworkEngine final : public OneOfSeveral {
 public:
  NetworkEngine(const Spec& spec, T* params)
      : net_(spec, params), pool_(std::make_shared<WorkspacePool<T>>()), updates_(trained_ranges(spec, {})) {
    // MinGW makes a lock when it is first used: by two threads at a time two of them, which shut nobody out
    const std::unique_lock<std::shared_mutex> made(params_mutex_);
  }

  const Spec& spec() const override { return net_.spec; }

  std::unique_ptr<Tape> forward(const Batch& batch) override {
    auto tape = std::make_unique<WorkspaceTape<T>>(net_.spec, pool_);
    Workspace<T>& w = *tape->w;
    if (batch.resets != nullptr) check_resets(net_.spec.bidirectional, Steps::all, Reduction::mean);
    net_.check_weights(batch);
    check_constraints();
    begin(w, batch,
          {.steps = Steps::all,
           .input_gradient = true,
           .drop = net_.dropping(batch),
           .noise = net_.noisy(batch),
           .masks = net_.masking(batch),
           .zones = net_.spec.has_zoneout(),
           .zone_draws = net_.zoning(batch)},
          0);
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    run(w, batch.threads, [&](int worker, int team, Barrier& barrier) {
      const auto [row0, row1] = w.plan.share(worker, team);
      form_recurrent(net_, w, worker, team, barrier);
      pack_weights(net_, w, batch.weights, true, worker, team);
      pack_initial(net_, w, batch, row0, row1);
      pack_inputs(net_, w, batch, 0, row0, row1);
      barrier.meet();
      if (worker == 0) weights.unlock();
      const OutputArgs<T> output = output_args(net_, w, false);
      Recursion recursion = recursion_of(w, worker, team, barrier);
      forward_window(net_, w, recursion, 0, net_.fused(true) && net_.O() ? &output : nullptr, row0, row1);
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
    check_constraints();
    // outputs of both directions are joined when both are done
    const Needs needs{.steps = all ? Steps::all : out.steps,
                      .keep = all && net_.D() == 2,
                      .outputs = true,
                      .drop = net_.dropping(batch),
                      .noise = net_.noisy(batch),
                      .masks = net_.masking(batch),
                      .zones = net_.spec.has_zoneout(),
                      .zone_draws = net_.zoning(batch)};
    begin(w, batch, needs, 0);
    const auto windows = static_cast<i64>(w.plan.windows.size());
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    if (infers(net_, w, out.steps) && !batch.weights && (!all || out.outputs.step == net_.spec.output_width())) {
      run_team_of(w, {1, false, 0}, [&](int, int, Barrier&) { infer_sequence(net_, w, batch, out); });
      return report_found(w, batch);
    }
    const auto rows = [&](Workspace<T>& own, const Batch& given, const Predictions& to, i64 row0, i64 row1,
                          Recursion& recursion, const auto& packed, const auto& between) {
      pack_initial(net_, own, given, row0, row1);
      pack_inputs(net_, own, given, 0, row0, row1);
      packed();
      const OutputArgs<T> output = output_args(net_, own, false);
      for (i64 i = 0; i < static_cast<i64>(own.plan.windows.size()); ++i) {
        carry_states(net_, own, i, row0, row1);
        if (i) between();
        if (i) pack_inputs(net_, own, given, i, row0, row1);
        forward_window(net_, own, recursion, i, net_.fused(all) ? &output : nullptr, row0, row1, to.steps);
        if (all && !net_.fused(all)) joined_outputs(net_, own, output, Steps::all, row0, row1);
        if (all) give_outputs(net_, own, i, row0, row1, to.outputs);
      }
      if (!to.one) return;
      finish_pooling(net_, own, to.steps, row0, row1);
      last_outputs(net_, own, output, own.y_last, row0, row1, to.steps);
      give_one(net_, own, row0, row1, static_cast<T*>(to.one));
    };
    // A row of one window may be another worker's in the next. To wait for that worker at each window costs much where
    // lengths differ, since the one with the long sequences has fewer rows at the first steps and all at the last ones:
    // each has a workspace of its own instead. Dropout and noise depend on the places in the whole batch.
    const bool apart = windows > 1 && !w.packed && !w.drop && !w.noisy() && !needs.masks && !needs.zone_draws;
    const int threads = batch.threads > 0 ? std::min(batch.threads, threads_of_call()) : threads_of_call();
    if (apart) w.parts.resize(std::max(w.parts.size(), size_of(threads)));
    std::vector<std::exception_ptr> failed(apart ? w.parts.size() : 0);
    bool divided = false;
    run(w, threads, [&](int worker, int team, Barrier& barrier) {
      const auto packed = [&] {
        barrier.meet();
        if (worker == 0 && reads_once(windows)) weights.unlock();
      };
      form_recurrent(net_, w, worker, team, barrier);
      pack_weights(net_, w, batch.weights, false, worker, team);
      if (!apart || team == 1 || w.shares_units) {
        const auto [row0, row1] = w.plan.share(worker, team);
        Recursion recursion = recursion_of(w, worker, team, barrier);
        return rows(w, batch, out, row0, row1, recursion, packed, [&] { barrier.meet(); });
      }
      if (worker == 0) divided = true;
      bool met = false;
      const auto packed_once = [&] {
        if (!std::exchange(met, true)) packed();
      };
      try {
        predict_part(w, batch, out, needs, worker, team,
                     [&](Workspace<T>& own, const Batch& given, const Predictions& to) {
                       Recursion alone(nullptr, own.stop, barrier, worker, team, 1, own.plan.batch);
                       rows(own, given, to, 0, own.plan.batch, alone, packed_once, [] {});
                     });
      } catch (...) {
        failed[size_of(worker)] = std::current_exception();
      }
      packed_once();
    });
    for (const std::exception_ptr& one : failed)
      if (one) std::rethrow_exception(one);
    report_found(w, batch);
    for (int s = 0; s < net_.info.states && !divided; ++s)
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
    begin_backward(net_, w,
                   {.steps = source.steps,
                    .backward = true,
                    .d_final = bool(from.final_state[0]),
                    .d_hidden = source.hidden,
                    .zones = net_.spec.has_zoneout()},
                   false);
    begin_activity(net_, w, {});
    inject(net_, w, from);
    place_input_gradient(w, out);
    T* gradient = static_cast<T*>(out.parameters);
    run(w, kept->threads_, [&](int number, int team, Barrier& barrier) {
      Recursion recursion = recursion_of(w, number, team, barrier);
      Worker worker = worker_of(w, number, team, barrier, recursion);
      spread_output_gradient(net_, w, source, worker.row0, worker.row1);
      start_gradient(net_, gradient, number, team);
      barrier.meet();
      backward_window(net_, w, worker, 0, source, out, {}, gradient);
      finish_gradient(net_, w, worker, source, out, kept->given_, gradient);
    });
    if (gradient) constraints_.clear(gradient);
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
    return step_alone(batch, objective, update, probes, memory_budget);
  }

  std::mutex& training() override { return train_mutex_; }
  i64 lanes() const override { return kernels_of<T>(active()).vector; }

  // Required operations of a training step, as in docs/performance.md
  double work(double rows) const override {
    double weights = 0;
    for (const LayerDirection& p : net_.layer_directions)
      weights += double(net_.GH()) * (2.0 * double(p.inputs) + 3.0 * double(net_.H()));
    return 2.0 * rows * weights;
  }

  bool passes_checks(const Update& update) override {
    try {
      check(update);
      check_constraints();
    } catch (const ArgumentError&) {
      return false;
    }
    return true;
  }

  std::unique_ptr<JointSteps> make_pass(const std::vector<TrainingStep*>& steps) override {
    return std::make_unique<OwnSteps>(pool_, steps);
  }

  double step_alone(const TrainingStep& step) override {
    check(step.update);
    return step_alone(step.batch, step.objective, step.update, {}, 0);
  }

  void update(const Update& update, const void* gradient, bool check_finite) override {
    check(update);
    const std::lock_guard<std::mutex> one(train_mutex_);
    const T* g = static_cast<const T*>(gradient);
    std::vector<T> own;
    if (!constraints_.none()) {
      check_constraints();
      own.assign(g, g + net_.count);
      constraints_.clear(own.data());
      g = own.data();
    }
    const Clipped clipping = clipped(g, update.clip, check_finite, nullptr);
    if (update.clip.value >= 0) {
      own.resize(size_of(net_.count));
      if (g != own.data()) std::copy_n(g, net_.count, own.data());
      updates_.limit(kernels_of<T>(active()), own.data(), update.clip.value);
      g = own.data();
    }
    apply(*update.optimizer, g, clipping);
  }

  void freeze(const std::vector<std::string>& names) override {
    std::vector<Range> trained = trained_ranges(net_.spec, names);
    Interruptible::refuse_within();
    const std::lock_guard<std::mutex> one(train_mutex_);
    updates_.set(std::move(trained));
  }

  void constrain(ConstraintSpec constraints) override {
    if (!constraints.signs.empty() && static_cast<i64>(constraints.signs.size()) != net_.count)
      throw ArgumentError({"signs", "are " + std::to_string(constraints.signs.size()), std::to_string(net_.count)});
    for (const ConstraintSpec::Norm& n : constraints.norms)
      if (n.from < 0 || n.rows < 1 || n.columns < 1 || n.from + n.rows * n.columns > net_.count || !(n.most > 0))
        throw ArgumentError({"a norm", "is of no matrix, or not above 0"});
    Interruptible::refuse_within();
    const std::lock_guard<std::mutex> one(train_mutex_);
    const std::unique_lock<std::shared_mutex> lock(params_mutex_);
    constraints_.set(std::move(constraints));
  }

  void check_constraints() override {
    if (constraints_.none()) return;
    const std::shared_lock<std::shared_mutex> lock(params_mutex_);
    if (const i64 i = constraints_.wrong_sign(net_.params); i >= 0) {
      static constexpr const char* allowed[] = {"0", "at least 0", "at most 0"};
      throw_at(i, "parameter ", [&](const std::string& name, std::vector<i64> index) {
        const double value = double(net_.params[i]);
        throw ArgumentError({name, "is " + number(value), std::string(allowed[constraints_.sign(i)]) + remedy,
                             std::move(index), value});
      });
    }
    if (const auto wrong = constraints_.wrong_norm(net_.params); wrong.column >= 0)
      throw_at(wrong.column, "parameter ", [&](const std::string& name, const std::vector<i64>& index) {
        throw ArgumentError({name,
                             "has norm " + number(wrong.norm) + " in column " + std::to_string(index.back()),
                             "at most " + number(wrong.most) + remedy,
                             {},
                             wrong.norm});
      });
  }

  void project(bool reflect_signs) override {
    Interruptible::refuse_within();
    const std::lock_guard<std::mutex> one(train_mutex_);
    const std::unique_lock<std::shared_mutex> lock(params_mutex_);
    constraints_.project_signs({0, net_.count}, net_.params, nullptr, 0, reflect_signs);
    constraints_.limit_norms(net_.params, [](i64) { return false; });
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
    const Needs needs = training_needs(net_, size);
    return most_of_layouts(net_, w, size, needs, [&] {
      fit_windows(net_, w, needs, memory_budget, most_elements);
      return bytes_of(net_, w, needs);
    });
  }

  i64 minimum_memory(const Size& size) override {
    Workspace<T> w;
    Needs needs = training_needs(net_, size);
    const auto most = [&] { return most_of_layouts(net_, w, size, needs, [&] { return smallest(net_, w, needs); }); };
    const i64 trained = most();
    if (!needs.drop && !needs.masks) return trained;
    needs.drop = needs.masks = needs.noise = needs.zone_draws = false;  // then rows may lie in lanes
    return std::max(trained, most());
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
  // The predictions of a worker's own sequences, by `rows`, in a workspace of its own with the weights of w
  template <class F>
  void predict_part(Workspace<T>& w, const Batch& batch, const Predictions& out, const Needs& needs, int worker,
                    int team, const F& rows) {
    const i64 count = w.plan.callers_batch;
    auto [from, to] = share(count, worker, team);
    if (batch.lengths) {
      const std::vector<i64> bounds = stretches_of(batch.lengths, count, team);
      from = bounds[size_of(worker)], to = bounds[size_of(worker) + 1];
    }
    if (from == to) return;
    std::unique_ptr<Workspace<T>>& part = w.parts[size_of(worker)];
    if (!part) part = std::make_unique<Workspace<T>>();
    Workspace<T>& own = *part;
    const Batch given = sequences_of(batch, from, to);
    Predictions wanted = out;
    const auto shifted = [](void* data, i64 elements) { return data ? static_cast<T*>(data) + elements : nullptr; };
    wanted.outputs.data = shifted(out.outputs.data, from * out.outputs.sequence);
    wanted.one = shifted(out.one, from * net_.spec.output_width());
    begin(own, given, needs, 0, &w);
    own.kept_layout = {};  // the addresses change
    for (std::size_t i = 0; i < own.layers.size(); ++i) {
      own.layers[i].w_forward = w.layers[i].w_forward;
      own.layers[i].w_backward = w.layers[i].w_backward;
      own.layers[i].bias = w.layers[i].bias;
      own.layers[i].setting = w.layers[i].setting;
    }
    own.b_y = w.b_y;
    own.stop.follow(w.stop);
    rows(own, given, wanted);
    w.found.add(own.found);
    for (int s = 0; s < net_.info.states; ++s)
      if (out.final_state[s])
        read_final(own, net_.H(), s, static_cast<T*>(out.final_state[s]) + from * net_.H(), count);
  }

  void begin(Workspace<T>& w, const Batch& batch, const Needs& needs, i64 memory_budget,
             const Workspace<T>* like = nullptr) {
    net_.check_initial(batch);
    prepare(net_, w, batch, needs, like);
    const i64 bytes = fit_windows(net_, w, needs, memory_budget, memory_limit());
    if (!needs.keep) split_for_prediction(net_, w);
    w.keeps = needs.keep;
    begin_forward(net_, w, needs, memory_budget > 0);
    w.drop = needs.drop;
    w.dropout_seed = batch.dropout_seed;
    w.dropout = batch.dropout < 0 ? net_.spec.dropout : batch.dropout;
    w.packed = batch.packed;
    w.zones = needs.zones;
    w.zone_draws = needs.zone_draws;
    if (needs.noise || needs.zone_draws) begin_noise(net_, w, batch);
    const double factor = w.noise_scales ? 1 : net_.spec.noise_factor(0, 0);
    w.input_noise = needs.noise ? net_.spec.input_noise * factor : 0;
    w.recurrent_noise = needs.noise ? net_.spec.recurrent_noise * factor : 0;
    if (memory_budget > 0) {
      const std::lock_guard<std::mutex> lock(report_mutex_);
      report_ = {static_cast<i64>(w.plan.windows.size()), bytes, 0, 0};
    }
  }

  template <class F>
  void run(Workspace<T>& w, int threads, const F& f) const {
    run(w, threads, true, f);
  }

  template <class F>
  void run(Workspace<T>& w, int threads, bool may_share_units, const F& f) const {
    double step = 0;
    for (const LayerDirection& p : net_.layer_directions)
      step += double(net_.GH()) * double(p.inputs + net_.H()) / double(net_.layer_directions.size());
    const int limit = threads > 0 ? std::min(threads, threads_of_call()) : threads_of_call();
    const Kernels<T>& k = kernels_for(w);
    TeamPlan team =
        plan_team({.limit = workers_for(work(double(w.plan.rows)), limit),
                   .batch = w.plan.lead() / w.plan.group,
                   .running = double(w.plan.rows) / double(w.plan.steps),
                   .panels = may_share_units && !net_.spec.bfloat16 && !w.layers[0].mask ? panels_of(net_, w) : 1,
                   .stage = step / net_.info.stages / k.vector,
                   .tile_rows = k.tile_rows});
    if (team.workers > 1) w.plan.divide(team.workers);
    if (!team.units && team.workers > 1) team.idle = w.plan.idle(team.workers);
    run_team_of(w, team, f);
  }

  template <class F>
  void run_team_of(Workspace<T>& w, const TeamPlan& team, const F& f) const {
    w.shares_units = team.units;
    if (team.units) w.meeting.begin();
    w.vanished.assign(size_of(team.workers), 0);
    w.stop.begin();
    run_team(team.workers, f, team.idle);
    w.stop.check();
    last_set.store(w.set, std::memory_order_relaxed);
  }

  // Whether the parameters are read while they are packed, and no more: later windows read the embedding again
  bool reads_once(i64 windows) const { return windows == 1 || !net_.spec.vocabulary; }

  Recursion recursion_of(Workspace<T>& w, int number, int team, Barrier& barrier) const {
    return {w.shares_units ? &w.meeting : nullptr, w.stop, barrier, number, team, panels_of(net_, w), w.plan.batch};
  }

  Worker worker_of(const Workspace<T>& w, int number, int team, Barrier& barrier, Recursion& recursion) const {
    const auto [row0, row1] = w.plan.share(number, team);
    return {number,
            team,
            barrier,
            recursion,
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
                      .noise = net_.noisy(batch),
                      .masks = net_.masking(batch),
                      .zones = net_.spec.has_zoneout(),
                      .zone_draws = net_.zoning(batch),
                      .norms = probes.hidden || probes.gates,
                      .numbers = probes.d_hidden != nullptr ||
                                 (out && objective.activity.omega != 0 && net_.info.omega == CellInfo::Omega::leaky),
                      .activity = out && objective.activity.on_states(),
                      .omega = out && objective.activity.omega != 0};
    const Spec& spec = net_.spec;
    if (needs.omega &&
        (net_.info.omega == CellInfo::Omega::none || spec.bfloat16 || spec.recurrent_dropout > 0 || spec.has_zoneout()))
      throw ArgumentError({"omega", "is given", "none for this cell, in bfloat16, with recurrent dropout or zoneout"});
    check_constraints();
    const bool penalised = out && !objective.penalties.empty();
    PenaltyTerms<T> terms(objective, penalised);
    begin(w, batch, needs, memory_budget);
    begin_backward(net_, w, needs, memory_budget > 0);
    if (out) place_input_gradient(w, *out);
    begin_losses(net_, w, objective);
    weigh(w, objective);
    begin_activity(net_, w, out ? objective.activity : ActivityPenalties{});
    const GradientSource source{.outputs = true, .steps = objective.steps};
    const bool pooled = pools(objective.steps);
    const auto windows = static_cast<i64>(w.plan.windows.size());
    bool given[CellInfo::most_states];
    for (int s = 0; s < CellInfo::most_states; ++s) given[s] = bool(batch.initial[s]);
    T* gradient = !out ? nullptr : out->parameters ? static_cast<T*>(out->parameters) : w.gradient;
    const std::vector<BlockArgs<T>> blocks =
        objective.is_plain() ? std::vector<BlockArgs<T>>() : block_args(w, objective);
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    // sums of squares run over all units of a row
    const bool may_share_units = !needs.norms;
    run(w, batch.threads, may_share_units, [&](int number, int team, Barrier& barrier) {
      Recursion recursion = recursion_of(w, number, team, barrier);
      Worker worker = worker_of(w, number, team, barrier, recursion);
      const i64 row0 = worker.row0, row1 = worker.row1;
      OutputArgs<T> output = output_args(net_, w, out != nullptr);
      if (blocks.empty())
        add_loss(w, objective.blocks[0], w.blocks[0], output);
      else
        add_blocks(w, blocks, output);
      // .. where dh has rows for each step, these enter there on the way back
      const bool enters_later = pooled || (w.activity.on && !all);
      if (enters_later) output.dh = nullptr;
      const auto window_forward = [&](i64 i, Steps pooling) {
        if (all) pack_targets(w, objective, batch.check_finite, i, row0, row1);
        forward_window(net_, w, recursion, i, net_.fused(all) ? &output : nullptr, row0, row1, pooling);
        if (all && !net_.fused(all)) joined_outputs(net_, w, output, Steps::all, row0, row1);
      };
      form_recurrent(net_, w, number, team, barrier);
      pack_weights(net_, w, nullptr, out != nullptr, number, team);
      pack_initial(net_, w, batch, row0, row1);
      pack_inputs(net_, w, batch, 0, row0, row1);
      start_losses(w, row0, row1);
      if (!all) pack_targets(w, objective, batch.check_finite, 0, row0, row1);
      if (out) start_gradient(net_, gradient, number, team);
      barrier.meet();
      if (number == 0 && penalised) terms.keep(net_.params);
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
      else if (net_.D() == 2 && (net_.O() || !enters_later))
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
    if (penalised) terms.add_to(gradient);
    if (out && objective.activity) give_activity(net_, w, objective.activity);
    if (out) constraints_.clear(gradient);
    report_found(w, batch);
    if (w.found.y) report_targets(w, objective, batch.check_finite);
    if (memory_budget > 0) {
      const std::lock_guard<std::mutex> lock(report_mutex_);
      report_.seconds = now() - start;
      report_.recompute_seconds = again;
    }
    return total_loss(w, objective);
  }

  double step_alone(const Batch& batch, const Objective& objective, const Update& update, const Probes& probes,
                    i64 memory_budget) {
    const BorrowedWorkspace<T> borrowed(pool_);
    Workspace<T>& w = *borrowed;
    const GradientTargets out;  // the workspace's own
    const double value = forward_and_loss(w, batch, objective, &out, probes, memory_budget);
    finish_step(value, w.gradient, update, batch.check_finite, probes.norm);
    for (int s = 0; s < net_.info.states; ++s)
      if (probes.final_state[s]) read_final(w, net_.H(), s, static_cast<T*>(probes.final_state[s]));
    return value;
  }

  // From the loss and its gradient, which is clipped in place
  void finish_step(double loss, T* gradient, const Update& update, bool check_finite, double* norm_out) {
    if (check_finite) report_loss(loss);
    const Clipped clipping = clipped(gradient, update.clip, check_finite, norm_out);
    if (update.clip.value >= 0) updates_.limit(kernels_of<T>(active()), gradient, update.clip.value);
    apply(*update.optimizer, gradient, clipping);
  }

  class OwnSteps final : public JointSteps {
   public:
    [[gnu::cold]] OwnSteps(const std::shared_ptr<WorkspacePool<T>>& pool, const std::vector<TrainingStep*>& steps)
        : w_(pool), participants_(steps.size()) {
      for (std::size_t m = 0; m < steps.size(); ++m) {
        Participant<T>& one = participants_[m];
        one.step = steps[m];
        one.net = &of(one).net_;
        one.lock = &of(one).params_mutex_;
        one.penalties = {steps[m]->objective, !steps[m]->objective.penalties.empty()};
      }
    }

    void run() override {
      try {
        pass_together(*w_, participants_);
      } catch (...) {
        for (Participant<T>& one : participants_) one.left_out = true;
      }
    }

    [[gnu::cold]] void finish(std::vector<TrainingStep*>& left_out) override {
      w_->stop.check();
      last_set.store(w_->set, std::memory_order_relaxed);
      i64 lane = 0;
      for (Participant<T>& one : participants_) {
        one.step->together = static_cast<i64>(participants_.size());
        one.left_out ? left_out.push_back(one.step) : of(one).finish_together(*w_, one, lane);
        ++lane;
      }
    }

   private:
    static NetworkEngine& of(const Participant<T>& one) { return static_cast<NetworkEngine&>(*one.step->engine); }
    BorrowedWorkspace<T> w_;
    std::vector<Participant<T>> participants_;
  };

  [[gnu::cold]] void finish_together(const Workspace<T>& w, Participant<T>& one, i64 lane) {
    TrainingStep& step = *one.step;
    try {
      if (!step.objective.penalties.empty()) one.penalties.add_to(one.gradient.data());
      constraints_.clear(one.gradient.data());
      step.loss = total_loss(w, step.objective, lane, w.lanes);
      finish_step(step.loss, one.gradient.data(), step.update, step.batch.check_finite, nullptr);
    } catch (...) {
      step.error = std::current_exception();
    }
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
    updates_.apply(kernels_of<T>(active()), rule, optimizer, net_.params, gradient, constraints_, clipping.scale,
                   clipping.most);
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

  static constexpr const char* remedy = ", as the model's constraints have it; model.project() makes it so";

  std::vector<Range> whole() const { return {{0, net_.count}}; }

  // Throws for the first value in these ranges that is not finite
  void report_flat(const T* values, const std::string& what, const std::vector<Range>& ranges) const {
    for (const Range& range : ranges)
      for (i64 i = range.from; i < range.to; ++i) {
        if (std::isfinite(values[i])) continue;
        throw_at(i, what, [&](const std::string& name, const std::vector<i64>& index) {
          throw_not_finite(name, double(values[i]), index);
        });
      }
  }

  // Calls f with what and the name of the parameter that element i is of, and its place there
  template <class F>
  void throw_at(i64 i, const std::string& what, const F& f) const {
    const std::vector<Parameter> all = layout(net_.spec);
    const Parameter& p = *std::find_if(all.rbegin(), all.rend(), [i](const Parameter& q) { return q.offset <= i; });
    const i64 place = i - p.offset, columns = p.shape.back();
    p.shape.size() == 2 ? f(what + p.name, {place / columns, place % columns}) : f(what + p.name, {place});
  }

  static void report_loss(double value) {
    if (std::isfinite(value)) return;
    throw ArgumentError({.argument = "the loss", .problem = "is not finite (" + number(value) + ")", .value = value});
  }

  Net<T> net_;
  std::shared_ptr<WorkspacePool<T>> pool_;
  std::mutex train_mutex_;  // serialises updates
  ParameterUpdates<T> updates_;
  ParameterConstraints<T> constraints_;
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
