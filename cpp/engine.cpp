#include "engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <utility>

#include "dispatch.h"
#include "pool.h"
#include "workspace.h"

namespace fastbptt {

namespace {

std::atomic<const InstructionSet*> last_set{nullptr};

constexpr std::size_t size_of(i64 n) { return static_cast<std::size_t>(n); }

i64 product(i64 a, i64 b) {
  i64 out = 0;
  if (__builtin_mul_overflow(a, b, &out)) throw std::length_error("the network's sizes overflow");
  return out;
}

// Member's share of n things, in one piece
std::pair<i64, i64> share(i64 n, int member, int team) { return {n * member / team, n * (member + 1) / team}; }

// ------------------------------------------------------------------------------------------- reading the arguments

template <class T>
T read(const Array& a, i64 i, i64 j = 0, i64 k = 0) {
  const auto* p = static_cast<const std::byte*>(a.data) + i * a.strides[0] + j * a.strides[1] + k * a.strides[2];
  switch (a.dtype) {
    case Dtype::f32:
      return static_cast<T>(*reinterpret_cast<const float*>(p));
    case Dtype::f64:
      return static_cast<T>(*reinterpret_cast<const double*>(p));
    case Dtype::i64:
      break;
  }
  return static_cast<T>(*reinterpret_cast<const i64*>(p));
}

std::string number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string place(std::initializer_list<i64> index) {
  std::string text = "(";
  for (const i64 i : index) text += (text.size() > 1 ? ", " : "") + std::to_string(i);
  return text + (index.size() == 1 ? ",)" : ")");
}

[[noreturn]] void throw_not_finite(const std::string& name, double value, std::initializer_list<i64> index) {
  throw std::invalid_argument(name + " holds a value that is not finite (" + number(value) + ") at index " +
                              place(index));
}

// One row of an (.., .., n) array into T; false if a value is not finite in T
template <class T>
bool copy_row(const Kernels<T>& k, const Array& a, i64 i, i64 j, i64 n, int axis, T* out) {
  const auto* p = static_cast<const std::byte*>(a.data) + i * a.strides[0] + (axis == 2 ? j * a.strides[1] : 0);
  if (a.dtype == Dtype::f32)
    return k.copy_f32(reinterpret_cast<const float*>(p), a.strides[axis] / i64(sizeof(float)), n, out);
  return k.copy_f64(reinterpret_cast<const double*>(p), a.strides[axis] / i64(sizeof(double)), n, out);
}

// What the members of a team found wrong; they go on computing, and the caller asks at the end.
struct Findings {
  std::atomic<bool> x{false}, h0{false}, weights{false}, y{false};
  void clear() { x = h0 = weights = y = false; }
};

// ---------------------------------------------------------------------------------------------------- workspace

// A piece of the weight gradients: columns of the left operand times one panel of the right one
struct GradientTask {
  enum Kind { input, recurrent, bias, output } kind;
  i64 panel;            // of the right operand
  i64 operand;          // panel of the left operand, where it has panels
  i64 column, columns;  // of the left operand (within its panel)
};

template <class T>
struct Workspace {
  const InstructionSet* set = nullptr;
  i64 panel = 0;  // columns of a panel
  Plan plan;
  Findings found;

  // what forward leaves, and backward reads
  Arena kept;
  T *x = nullptr, *states = nullptr, *last = nullptr, *y = nullptr;
  T *w_forward = nullptr, *w_backward = nullptr, *w_input = nullptr, *bias = nullptr, *b_y = nullptr;
  i64 input_panels = 0, x_stride = 0, states_panel = 0, last_panel = 0;

  // what a loss or a backward pass needs besides
  Arena scratch;
  T *dy = nullptr, *dh = nullptr, *dgates = nullptr, *dw = nullptr, *dw_y = nullptr, *targets = nullptr,
    *factor = nullptr, *gradient = nullptr;
  std::int32_t* classes = nullptr;
  double *loss_sum = nullptr, *chunks = nullptr;
  i64 dh_panel = 0, dgates_panel = 0;
  std::vector<double> exact_factor;  // [B] sorted
  std::vector<GradientTask> tasks;
  i64 task_columns = 0;
  std::vector<char> vanished;  // by member: nothing flows back before the current block
};

template <class T>
struct Pool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace<T>>> free;

  Pool() { free.reserve(most); }
  std::unique_ptr<Workspace<T>> get() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (free.empty()) return std::make_unique<Workspace<T>>();
    auto w = std::move(free.back());
    free.pop_back();
    return w;
  }
  static constexpr std::size_t most = 2;  // one for training, one for a forward result that comes and goes
  void put(std::unique_ptr<Workspace<T>> w) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (free.size() < most) free.push_back(std::move(w));
  }
};

template <class T>
class Borrowed {
 public:
  explicit Borrowed(std::shared_ptr<Pool<T>> pool) : pool_(std::move(pool)), w_(pool_->get()) {}
  ~Borrowed() { pool_->put(std::move(w_)); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Workspace<T>& operator*() const { return *w_; }
  Workspace<T>* operator->() const { return w_.get(); }
  bool is_from(const std::shared_ptr<Pool<T>>& pool) const { return pool == pool_; }

 private:
  std::shared_ptr<Pool<T>> pool_;
  std::unique_ptr<Workspace<T>> w_;
};

constexpr i64 chunk = 4096;  // elements of the flat buffer whose squares are summed together

template <class T>
class Network;

template <class T>
class KeptPass final : public Tape {
 public:
  KeptPass(Spec spec, const std::shared_ptr<Pool<T>>& pool) : spec_(std::move(spec)), w(pool) {}
  i64 batch() const override { return w->plan.batch; }
  i64 time() const override { return w->plan.time; }

  void outputs(void* out) const override {
    if (spec_.outputs == 0) return hidden(out);
    scatter(spec_.outputs, static_cast<T*>(out), [this](i64 row, i64 j) { return w->y[row * spec_.outputs + j]; });
  }
  void hidden(void* out) const override {
    const i64 n = w->panel;
    scatter(spec_.hidden, static_cast<T*>(out), [this, n](i64 row, i64 j) {
      return w->states[j / n * w->states_panel + (w->plan.batch + row) * n + j % n];
    });
  }
  void final_state(void* out) const override {
    const i64 n = w->panel;
    for (i64 b = 0; b < batch(); ++b)
      for (i64 j = 0; j < spec_.hidden; ++j)
        static_cast<T*>(out)[w->plan.place(b) * spec_.hidden + j] = w->last[j / n * w->last_panel + b * n + j % n];
  }

 private:
  friend class Network<T>;
  template <class Get>
  void scatter(i64 columns, T* out, const Get& get) const {
    for (i64 b = 0; b < batch(); ++b) {
      T* to = out + w->plan.place(b) * time() * columns;
      const i64 length = w->plan.length(b);
      for (i64 t = 0; t < length; ++t)
        for (i64 j = 0; j < columns; ++j) to[t * columns + j] = get(w->plan.row(t, b), j);
      std::fill(to + length * columns, to + time() * columns, T(0));
    }
  }

  Spec spec_;
  Borrowed<T> w;
  std::mutex mutex_;  // one backward pass at a time
};

// ------------------------------------------------------------------------------------------------------ network

template <class T>
class Network final : public Engine {
 public:
  Network(Spec spec, T* params)
      : spec_(std::move(spec)),
        cell_(find_cell(spec_.cell)),
        params_(params),
        count_(parameter_count(spec_)),
        pool_(std::make_shared<Pool<T>>()) {
    for (const Parameter& p : layout(spec_)) offset_of(p.name) = p.offset;
  }

  const Spec& spec() const override { return spec_; }

  std::unique_ptr<Tape> forward(const Batch& batch) override {
    auto tape = std::make_unique<KeptPass<T>>(spec_, pool_);
    Workspace<T>& w = *tape->w;
    begin(w, batch, true, true);
    const OutputArgs<T> each = output_args(w, false);
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    run(w, [&](int member, int team, Barrier& barrier) {
      const auto [row0, row1] = rows_of(w.plan, member, team);
      load_weights(w, batch, member, team);
      load_inputs(w, batch, row0, row1);
      barrier.meet();
      if (member == 0) weights.unlock();
      kernels(w).forward(forward_args(w, w.plan.schedule(), spec_.outputs ? &each : nullptr), row0, row1);
    });
    report_inputs(w, batch);
    return tape;
  }

  void backward(Tape& tape, const Array& d_outputs, const Array& d_final_state, const Gradients& out,
                bool check_finite) override {
    auto* kept = dynamic_cast<KeptPass<T>*>(&tape);
    if (!kept || !kept->w.is_from(pool_)) throw std::invalid_argument("the forward result belongs to another model");
    const std::lock_guard<std::mutex> one(kept->mutex_);
    Workspace<T>& w = *kept->w;
    begin_backward(w, nullptr, out);
    inject(w, d_outputs, d_final_state, check_finite);
    const bool dense = spec_.outputs && d_outputs, add = d_final_state || (!spec_.outputs && d_outputs);
    run(w, [&](int member, int team, Barrier& barrier) {
      const Schedule s = w.plan.schedule();
      BackwardArgs<T> args = backward_args(w, s);
      args.dy = dense ? w.dy : nullptr;
      args.dy_each_step = true;
      args.dh = add ? w.dh : nullptr;
      args.dh_each_step = !spec_.outputs && d_outputs;
      backward_pass(w, args, dense, out, member, team, barrier);
      unpack_gradient(w, static_cast<T*>(out.parameters), dense, dense ? w.plan.rows : 0, member, team);
    });
    if (check_finite) report_gradient(static_cast<T*>(out.parameters));
  }

  double loss(const Batch& batch, const Objective& objective) override {
    const Borrowed<T> borrowed(pool_);
    return forward_and_loss(*borrowed, batch, objective, nullptr);
  }

  double loss_and_grad(const Batch& batch, const Objective& objective, const Gradients& out) override {
    const Borrowed<T> borrowed(pool_);
    const double value = forward_and_loss(*borrowed, batch, objective, &out);
    if (batch.check_finite) {
      report_gradient(static_cast<T*>(out.parameters));
      report_loss(value);
    }
    return value;
  }

  double train_step(const Batch& batch, const Objective& objective, AdamState& optimizer, double clip_norm) override {
    const std::lock_guard<std::mutex> one(train_mutex_);
    const Borrowed<T> borrowed(pool_);
    Workspace<T>& w = *borrowed;
    const Gradients out;  // the workspace's own
    const double value = forward_and_loss(w, batch, objective, &out);
    if (batch.check_finite) report_loss(value);
    update(w.gradient, w.chunks, optimizer, clip_norm, batch.check_finite);
    return value;
  }

  void adam_step(AdamState& optimizer, const void* gradient, bool check_finite) override {
    const std::lock_guard<std::mutex> one(train_mutex_);
    std::vector<double> chunks(size_of((count_ + chunk - 1) / chunk));
    update(static_cast<const T*>(gradient), chunks.data(), optimizer, -1, check_finite);
  }

  i64 memory_needed(i64 batch, i64 time) override {
    Workspace<T> w;
    w.set = &active();
    w.panel = kernels(w).panel;
    w.plan.make(batch, time, nullptr);
    const auto bytes =
        w.kept.measure(kept_parts(w, true, false)) + w.scratch.measure(scratch_parts(w, true, true, true));
    return static_cast<i64>(bytes + w.plan.bytes());
  }

  void set_params(const void* values) override {
    const std::unique_lock<std::shared_mutex> lock(params_mutex_);
    std::memmove(params_, values, size_of(count_) * sizeof(T));
  }

  void get_params(void* values) override {
    const std::shared_lock<std::shared_mutex> lock(params_mutex_);
    std::memmove(values, params_, size_of(count_) * sizeof(T));
  }

 private:
  const Kernels<T>& kernels(const Workspace<T>& w) const { return kernels_for<T>(*w.set, cell_); }
  i64 I() const { return spec_.inputs; }
  i64 H() const { return spec_.hidden; }
  i64 O() const { return spec_.outputs; }
  i64 outputs() const { return O() ? O() : H(); }
  i64 panels_of(const Workspace<T>& w) const { return (H() + w.panel - 1) / w.panel; }

  i64& offset_of(const std::string& name) {
    if (name == "W_xh") return W_xh_;
    if (name == "W_hh") return W_hh_;
    if (name == "b_h") return b_h_;
    return name == "W_hy" ? W_hy_ : b_y_;
  }

  // ---- setting up

  void begin(Workspace<T>& w, const Batch& batch, bool outputs_of_all_steps, bool input_gradient) {
    w.set = &active();
    w.panel = kernels(w).panel;
    w.found.clear();
    w.plan.make(batch.x.shape[0], batch.x.shape[1], batch.lengths);
    w.kept.lay_out(kept_parts(w, outputs_of_all_steps, input_gradient));
  }

  // What forward leaves, as a function that cuts it out of an arena
  auto kept_parts(Workspace<T>& w, bool outputs_of_all_steps, bool input_gradient) const {
    const i64 n = w.panel, panels = panels_of(w), rows = w.plan.rows, b = w.plan.batch;
    w.input_panels = input_gradient ? (I() + n - 1) / n : 0;
    w.x_stride = I() + (I() * i64(sizeof(T)) % 2048 == 0 ? 64 / i64(sizeof(T)) : 0);
    const i64 state_rows = spread_rows(rows + b, size_of(n) * sizeof(T)),
              last_rows = spread_rows(b, size_of(n) * sizeof(T));
    w.states_panel = state_rows * n;
    w.last_panel = last_rows * n;
    return [=, this, &w](Arena& a) {
      w.w_forward = a.take<T>(panels, I() + H(), n);
      w.w_backward = a.take<T>(panels, O() + H(), n);
      w.w_input = a.take<T>(w.input_panels, H(), n);
      w.bias = a.take<T>(panels, n);
      w.b_y = a.take<T>(O());
      w.x = a.take<T>(rows, w.x_stride);
      w.states = a.take<T>(panels, state_rows, n);
      w.last = a.take<T>(panels, last_rows, n);
      w.y = a.take<T>(outputs_of_all_steps ? rows : b, outputs());
    };
  }

  // objective null: the gradient comes from outside, at all steps
  void begin_backward(Workspace<T>& w, const Objective* objective, const Gradients& out) {
    w.scratch.lay_out(scratch_parts(w, !objective || objective->steps == Steps::all, objective, !out.parameters));
    make_tasks(w);
  }

  auto scratch_parts(Workspace<T>& w, bool all_steps, bool loss, bool gradient) const {
    const i64 n = w.panel, panels = panels_of(w), b = w.plan.batch, rows = all_steps ? w.plan.rows : b;
    const i64 gate_rows = spread_rows(w.plan.block_rows, size_of(n) * sizeof(T));
    w.dgates_panel = gate_rows * n;
    // d_outputs of a network with readout goes through dy, so that dh holds only d_final_state
    const i64 dh_rows = O() ? b : rows;
    w.dh_panel = spread_rows(dh_rows, size_of(n) * sizeof(T)) * n;
    return [=, this, &w](Arena& a) {
      w.dy = a.take<T>(rows, outputs());
      w.dh = a.take<T>(panels, w.dh_panel);
      w.dgates = a.take<T>(panels, gate_rows, n);
      w.dw = a.take<T>(panels, I() + H() + 1, n);
      w.dw_y = a.take<T>(panels, O(), n);
      w.targets = a.take<T>(loss ? rows : 0, outputs());
      w.classes = a.take<std::int32_t>(loss ? rows : 0);
      w.factor = a.take<T>(b, outputs());
      w.loss_sum = a.take<double>(b, outputs());
      w.chunks = a.take<double>((count_ + chunk - 1) / chunk);
      w.gradient = a.take<T>(gradient ? count_ : 0);
    };
  }

  void make_tasks(Workspace<T>& w) const {
    const Kernels<T>& k = kernels(w);
    const i64 n = w.panel, panels = panels_of(w), piece = 4 * k.tile_rows;
    w.tasks.clear();
    w.task_columns = 0;
    const auto add = [&](GradientTask::Kind kind, i64 panel, i64 operand, i64 columns) {
      for (i64 c = 0; c < columns; c += piece) {
        w.tasks.push_back({kind, panel, operand, c, std::min(piece, columns - c)});
        w.task_columns += w.tasks.back().columns;
      }
    };
    for (i64 p = 0; p < panels; ++p) {
      add(GradientTask::input, p, 0, I());
      for (i64 q = 0; q < panels; ++q) add(GradientTask::recurrent, p, q, std::min(n, H() - q * n));
      if (spec_.bias) add(GradientTask::bias, p, 0, 1);
      add(GradientTask::output, p, 0, O());
    }
  }

  template <class F>
  void run(Workspace<T>& w, const F& f) const {
    // needed operations, as docs/performance.md counts them; below this a second thread costs more than it brings
    constexpr double least = 4e6;
    const double work = 2.0 * double(w.plan.rows) * double(H()) * (2.0 * double(I()) + 3.0 * double(H()));
    const int most = static_cast<int>(std::min({double(get_num_threads()), work / least, double(w.plan.batch)}));
    const int team = std::max(most, 1);
    w.vanished.assign(size_of(team), 0);
    run_team(team, f);
    last_set.store(w.set, std::memory_order_relaxed);
  }

  // Sorted sequences of a member: about equal sums of lengths
  static std::pair<i64, i64> rows_of(const Plan& plan, int member, int team) {
    if (!plan.ragged) return share(plan.batch, member, team);
    i64 bound[2] = {plan.batch, plan.batch}, seen = 0;
    for (i64 b = 0; b < plan.batch; seen += plan.length(b), ++b)
      for (int e = 0; e < 2; ++e)
        if (seen * team >= plan.rows * (member + e)) bound[e] = std::min(bound[e], b);
    if (member + 1 == team) bound[1] = plan.batch;
    return {bound[0], bound[1]};
  }

  // ---- loading

  void load_weights(Workspace<T>& w, const Batch& batch, int member, int team) {
    const Kernels<T>& k = kernels(w);
    const i64 n = w.panel, panels = panels_of(w);
    const i64 depth = I() + H(), depth_back = O() + H();
    const T* w_xh = params_ + W_xh_;
    const T* w_hh = params_ + W_hh_;
    for (i64 p = member; p < 2 * panels + w.input_panels; p += team) {
      if (p < panels) {
        const i64 real = std::min(n, H() - p * n);
        T* to = w.w_forward + p * depth * n;
        k.pack(w_xh + p * n, H(), false, I(), real, to);
        k.pack(w_hh + p * n, H(), false, H(), real, to + I() * n);
        for (i64 j = 0; j < n; ++j) w.bias[p * n + j] = spec_.bias && j < real ? params_[b_h_ + p * n + j] : T(0);
      } else if (p < 2 * panels) {
        const i64 q = p - panels, real = std::min(n, H() - q * n);
        T* to = w.w_backward + q * depth_back * n;
        if (O()) k.pack(params_ + W_hy_ + q * n * O(), O(), true, O(), real, to);
        k.pack(w_hh + q * n * H(), H(), true, H(), real, to + O() * n);
      } else {
        const i64 q = p - 2 * panels;
        k.pack(w_xh + q * n * H(), H(), true, H(), std::min(n, I() - q * n), w.w_input + q * H() * n);
      }
    }
    if (member == 0) {
      for (i64 o = 0; o < O(); ++o) w.b_y[o] = spec_.bias ? params_[b_y_ + o] : T(0);
      if (batch.check_finite && !k.finite(params_, count_)) w.found.weights = true;
    }
  }

  void load_inputs(Workspace<T>& w, const Batch& batch, i64 row0, i64 row1) {
    const Kernels<T>& k = kernels(w);
    const Plan& plan = w.plan;
    const i64 n = w.panel;
    bool fine = true;
    for (i64 t = 0; t < plan.steps; ++t)
      for (i64 b = row0; b < std::min(row1, plan.active[size_of(t)]); ++b)
        fine &= copy_row(k, batch.x, plan.place(b), t, I(), 2, w.x + plan.row(t, b) * w.x_stride);
    if (!fine) w.found.x = true;
    fine = true;
    for (i64 p = 0; p * n < H(); ++p)
      for (i64 b = row0; b < row1; ++b) {
        T* to = w.states + p * w.states_panel + b * n;
        std::fill_n(to, n, T(0));
        if (!batch.h0) continue;
        Array part = batch.h0;  // the columns of this panel
        part.data = static_cast<const std::byte*>(part.data) + p * n * part.strides[1];
        fine &= copy_row(k, part, plan.place(b), 0, std::min(n, H() - p * n), 1, to);
      }
    if (!fine) w.found.h0 = true;
  }

  // The weight of each sequence in the loss
  void load_factors(Workspace<T>& w, const Objective& o) {
    const Plan& plan = w.plan;
    const bool all = o.steps == Steps::all;
    std::vector<double>& factor = w.exact_factor;
    factor.assign(size_of(plan.batch), 1.0);
    if (o.sample_weight)
      for (i64 b = 0; b < plan.batch; ++b) {
        const double value = factor[size_of(b)] = read<double>(o.sample_weight, plan.place(b));
        if (!std::isfinite(value)) throw_not_finite("sample_weight", value, {plan.place(b)});
        if (value < 0)
          throw std::invalid_argument("sample_weight holds " + number(value) + " at index " + place({plan.place(b)}) +
                                      "; expected values from 0 up");
      }
    if (std::all_of(factor.begin(), factor.end(), [](double f) { return f == 0; }))
      throw std::invalid_argument("sample_weight holds only zeros; expected at least one above 0");
    if (o.reduction == Reduction::sum) return;
    double total = 0;
    for (i64 b = 0; b < plan.batch; ++b) {
      const double length = all ? double(plan.length(b)) : 1.0;
      total += o.reduction == Reduction::mean ? factor[size_of(b)] * length : factor[size_of(b)];
      if (o.reduction == Reduction::sequence_mean) factor[size_of(b)] /= length;
    }
    if (o.loss != Loss::cross_entropy) total *= double(outputs());
    for (double& f : factor) f /= total;
  }

  // Private copies of y for a member's sequences
  void load_targets(Workspace<T>& w, const Objective& o, bool check, i64 row0, i64 row1) {
    const Plan& plan = w.plan;
    const i64 n = outputs();
    const bool all = o.steps == Steps::all;
    bool fine = true;
    for (i64 b = row0; b < row1; ++b) {
      std::fill_n(w.factor + b * n, n, T(w.exact_factor[size_of(b)]));
      std::fill_n(w.loss_sum + b * n, n, 0.0);
    }
    for (i64 t = 0; t < (all ? plan.steps : 1); ++t)
      for (i64 b = row0; b < (all ? std::min(row1, plan.active[size_of(t)]) : row1); ++b) {
        const i64 to = all ? plan.row(t, b) : b;
        if (o.loss == Loss::cross_entropy) {
          const i64 value = read<i64>(o.y, plan.place(b), t);
          const bool known = value >= 0 && value < n;
          w.classes[to] = known ? static_cast<std::int32_t>(value) : 0;
          fine &= known;
          continue;
        }
        T* target = w.targets + to * n;
        fine &= copy_row(kernels(w), o.y, plan.place(b), t, n, all ? 2 : 1, target) || !check;
        if (o.loss == Loss::bce)
          for (i64 j = 0; j < n; ++j) fine &= !(target[j] < 0 || target[j] > 1);
      }
    if (!fine) w.found.y = true;
  }

  // Finds again what load_targets saw
  void report_targets(const Workspace<T>& w, const Objective& o, bool check) const {
    const Plan& plan = w.plan;
    const i64 n = outputs();
    const bool all = o.steps == Steps::all;
    for (i64 i = 0; i < plan.batch; ++i) {
      const i64 b = plan.place(i);
      for (i64 t = 0; t < (all ? plan.length(i) : 1); ++t) {
        if (o.loss == Loss::cross_entropy) {
          const i64 value = read<i64>(o.y, b, t);
          if (value < 0 || value >= n)
            throw std::invalid_argument("y holds class " + std::to_string(value) + " at index " +
                                        (all ? place({b, t}) : place({b})) + "; expected classes 0 to " +
                                        std::to_string(n - 1));
          continue;
        }
        for (i64 j = 0; j < n; ++j) {
          const double value = all ? read<double>(o.y, b, t, j) : read<double>(o.y, b, j);
          if (check && !std::isfinite(T(value)))
            all ? throw_not_finite("y", value, {b, t, j}) : throw_not_finite("y", value, {b, j});
          if (o.loss == Loss::bce && (value < 0 || value > 1))
            throw std::invalid_argument("y holds " + number(value) + " at index " +
                                        (all ? place({b, t, j}) : place({b, j})) +
                                        "; expected values from 0 to 1 for loss 'bce'");
        }
      }
    }
    throw std::invalid_argument("y held a value that its loss forbids, and changed during the call");
  }

  // d_outputs and d_final_state of the user, in the order of the rows
  void inject(Workspace<T>& w, const Array& d_outputs, const Array& d_final, bool check) {
    const Kernels<T>& k = kernels(w);
    const Plan& plan = w.plan;
    const i64 n = w.panel;
    std::vector<T> row(size_of(H()));
    const bool each_step = !O() && d_outputs;
    const auto add_to_panels = [&](i64 to, bool overwrite) {
      for (i64 j = 0; j < panels_of(w) * n; ++j) {
        T& at = w.dh[j / n * w.dh_panel + to * n + j % n];
        at = (overwrite ? T(0) : at) + (j < H() ? row[size_of(j)] : T(0));
      }
    };
    for (i64 b = 0; b < plan.batch; ++b) {
      for (i64 t = 0; d_outputs && t < plan.length(b); ++t) {
        T* to = O() ? w.dy + plan.row(t, b) * O() : row.data();
        if (!copy_row(k, d_outputs, plan.place(b), t, outputs(), 2, to) && check)
          for (i64 j = 0; j < outputs(); ++j)
            if (!std::isfinite(to[j])) throw_not_finite("d_outputs", double(to[j]), {plan.place(b), t, j});
        if (!O()) add_to_panels(plan.row(t, b), true);
      }
      if (!d_final) continue;
      if (!copy_row(k, d_final, plan.place(b), 0, H(), 1, row.data()) && check)
        for (i64 j = 0; j < H(); ++j)
          if (!std::isfinite(row[size_of(j)]))
            throw_not_finite("d_final_state", double(row[size_of(j)]), {0, plan.place(b), j});
      add_to_panels(each_step ? plan.row(plan.length(b) - 1, b) : b, !each_step);
    }
  }

  // ---- arguments of the kernels

  ForwardArgs<T> forward_args(const Workspace<T>& w, const Schedule& s, const OutputArgs<T>* each_step) const {
    return {&s,        I(),    H(),         w.x, w.x_stride, w.w_forward, w.bias, w.states, w.states_panel,
            each_step, w.last, w.last_panel};
  }

  OutputArgs<T> output_args(const Workspace<T>& w, bool gradient) const {
    OutputArgs<T> o{};
    o.outputs = outputs();
    o.hidden = H();
    o.weights = O() ? w.w_backward : nullptr;
    o.weights_panel = (O() + H()) * kernels(w).panel;
    o.bias = w.b_y;
    o.y = w.y;
    o.targets = w.targets;
    o.classes = w.classes;
    o.factor = w.factor;
    o.loss_sum = w.loss_sum;
    if (gradient) {
      o.dy = w.dy;
      o.dh = O() ? nullptr : w.dh;
      o.dh_panel = w.dh_panel;
    }
    return o;
  }

  BackwardArgs<T> backward_args(const Workspace<T>& w, const Schedule& s) const {
    BackwardArgs<T> a{};
    a.schedule = &s;
    a.hidden = H();
    a.outputs = O();
    a.weights = w.w_backward;
    a.states = w.states;
    a.states_panel = w.states_panel;
    a.dh_panel = w.dh_panel;
    a.dgates = w.dgates;
    a.dgates_panel = w.dgates_panel;
    return a;
  }

  // ---- the passes

  // out null: no gradients. Leaves them in out.parameters, or in the workspace if that is null.
  double forward_and_loss(Workspace<T>& w, const Batch& batch, const Objective& objective, const Gradients* out) {
    const bool all = objective.steps == Steps::all;
    begin(w, batch, all, out && out->x);
    begin_backward(w, &objective, out ? *out : Gradients{});
    load_factors(w, objective);
    OutputArgs<T> output = output_args(w, out != nullptr);
    output.with_loss = true;
    output.loss = objective.loss;
    const Schedule s = w.plan.schedule();
    std::shared_lock<std::shared_mutex> weights(params_mutex_);
    run(w, [&](int member, int team, Barrier& barrier) {
      const auto [row0, row1] = rows_of(w.plan, member, team);
      load_weights(w, batch, member, team);
      load_inputs(w, batch, row0, row1);
      load_targets(w, objective, batch.check_finite, row0, row1);
      barrier.meet();
      if (member == 0) weights.unlock();
      kernels(w).forward(forward_args(w, s, all ? &output : nullptr), row0, row1);
      if (!all) kernels(w).outputs(output, w.last, w.last_panel, row0, row0, row1 - row0);
      if (!out) return;
      BackwardArgs<T> args = backward_args(w, s);
      args.dy = O() ? w.dy : nullptr;
      args.dy_each_step = all;
      args.dh = O() ? nullptr : w.dh;
      args.dh_each_step = all;
      backward_pass(w, args, all && O(), *out, member, team, barrier);
      if (!all && O()) output_gradient(w, w.last, w.last_panel, 0, {0, 0, w.plan.batch}, false, member, team);
      barrier.meet();
      T* gradient = out->parameters ? static_cast<T*>(out->parameters) : w.gradient;
      unpack_gradient(w, gradient, O() > 0, all ? w.plan.rows : w.plan.batch, member, team);
    });
    report_inputs(w, batch);
    if (w.found.y) report_targets(w, objective, batch.check_finite);
    double value = 0;
    for (i64 b = 0; b < w.plan.batch; ++b)
      for (i64 o = 0; o < outputs() && w.exact_factor[size_of(b)] != 0; ++o)
        value += w.exact_factor[size_of(b)] * w.loss_sum[b * outputs() + o];
    return value;
  }

  // From the end of time to its start, block by block: the recursion over a member's own sequences, then its share of
  // the weight gradients over all of them.
  void backward_pass(Workspace<T>& w, BackwardArgs<T> args, bool output_each_step, const Gradients& out, int member,
                     int team, Barrier& barrier) {
    const Kernels<T>& k = kernels(w);
    const Plan& plan = w.plan;
    const Schedule& s = *args.schedule;
    const auto [row0, row1] = rows_of(plan, member, team);
    const i64 n = w.panel, panels = panels_of(w);
    for (std::size_t i = 0; i < plan.blocks.size(); ++i) {
      const Plan::Block& block = plan.blocks[i];
      if (i > 0) {  // the step after this block was the first of the last one
        const i64 end = std::min(row1, plan.active[size_of(block.t1)]);
        for (i64 p = 0; p < panels && row0 < end; ++p) {
          T* rows = w.dgates + p * w.dgates_panel;
          std::copy(rows + row0 * n, rows + end * n, rows + (block.rows + row0) * n);
        }
      }
      args.base = plan.row(block.t0, 0);
      k.backward(args, block.t0, block.t1, row0, row1);
      w.vanished[size_of(member)] = vanished(w, args, block.t0, row0, row1);
      if (out.x) input_gradient(w, s, args.base, block, static_cast<T*>(out.x), row0, row1);
      if (out.h0 && block.t0 == 0) state_gradient(w, s, static_cast<T*>(out.h0), row0, row1);
      barrier.meet();
      weight_gradient(w, block, output_each_step, i > 0, member, team);
      const bool all_zero = std::all_of(w.vanished.begin(), w.vanished.begin() + team, [](char v) { return v != 0; });
      barrier.meet();
      if (all_zero) return vanished_before(w, block.t0, out, row0, row1);
    }
  }

  // Whether nothing flows back any more from step t of a member's sequences, and nothing enters before it
  bool vanished(const Workspace<T>& w, const BackwardArgs<T>& a, i64 t, i64 row0, i64 row1) const {
    const bool enters = (a.dy && a.dy_each_step) || (a.dh && a.dh_each_step);
    if (enters || t == 0 || row1 > w.plan.active[size_of(t)]) return false;
    for (i64 p = 0; p < panels_of(w); ++p) {
      const i64 real = std::min(w.panel, H() - p * w.panel);
      const T* rows = w.dgates + p * w.dgates_panel;
      if (real == w.panel && !kernels(w).zero(rows + row0 * w.panel, (row1 - row0) * w.panel)) return false;
      for (i64 b = row0; real < w.panel && b < row1; ++b)
        if (!kernels(w).zero(rows + b * w.panel, real)) return false;
    }
    return true;
  }

  // The gradients of the inputs before step t and of the initial state, where they are zero
  void vanished_before(const Workspace<T>& w, i64 t, const Gradients& out, i64 row0, i64 row1) const {
    for (i64 b = row0; b < row1; ++b) {
      if (out.x) std::fill_n(static_cast<T*>(out.x) + w.plan.place(b) * w.plan.time * I(), t * I(), T(0));
      if (out.h0) std::fill_n(static_cast<T*>(out.h0) + w.plan.place(b) * H(), H(), T(0));
    }
  }

  void input_gradient(const Workspace<T>& w, const Schedule& s, i64 base, const Plan::Block& block, T* out, i64 row0,
                      i64 row1) const {
    const i64 n = w.panel, size = I() * w.plan.time;
    if (block.t1 == w.plan.steps)
      for (i64 b = row0; b < row1; ++b)
        std::fill(out + w.plan.place(b) * size + w.plan.length(b) * I(), out + (w.plan.place(b) + 1) * size, T(0));
    kernels(w).input_grad(
        {&s, H(), I(), w.w_input, H() * n, w.dgates, w.dgates_panel, base, w.plan.order.data(), out, size}, block.t0,
        block.t1, row0, row1);
  }

  void state_gradient(const Workspace<T>& w, const Schedule& s, T* out, i64 row0, i64 row1) const {
    const i64 n = w.panel;
    kernels(w).input_grad({&s, H(), H(), w.w_backward + O() * n, (O() + H()) * n, w.dgates, w.dgates_panel, 0,
                           w.plan.order.data(), out, H()},
                          0, 1, row0, row1);
  }

  // Calls f(task) for a member's share of the tasks that want says
  template <class Want, class F>
  static void for_tasks(const Workspace<T>& w, int member, int team, const Want& want, const F& f) {
    const auto [column0, column1] = share(w.task_columns, member, team);
    i64 column = 0;
    for (const GradientTask& task : w.tasks) {
      if (column >= column0 && column < column1 && want(task)) f(task);
      column += task.columns;
    }
  }

  void weight_gradient(const Workspace<T>& w, const Plan::Block& block, bool output_each_step, bool add, int member,
                       int team) const {
    static constexpr T one[1] = {1};
    const Kernels<T>& k = kernels(w);
    const i64 n = w.panel, rows = I() + H() + 1, first = w.plan.row(block.t0, 0);
    const Run straight{first, 0, block.rows};
    const auto wanted = [](const GradientTask& t) { return t.kind != GradientTask::output; };
    for_tasks(w, member, team, wanted, [&](const GradientTask& t) {
      WeightGradArgs<T> a{};
      a.a_columns = t.columns;
      a.g = w.dgates + t.panel * w.dgates_panel;
      a.g_columns = std::min(n, H() - t.panel * n);
      a.runs = &straight;
      a.run_count = 1;
      a.c = w.dw + t.panel * rows * n;
      a.add = add;
      if (t.kind == GradientTask::input) {
        a.a = w.x + t.column;
        a.a_stride = w.x_stride;
        a.c += t.column * n;
      } else if (t.kind == GradientTask::recurrent) {
        a.a = w.states + t.operand * w.states_panel + t.column;
        a.a_stride = n;
        a.runs = w.plan.runs.data() + block.run0;
        a.run_count = static_cast<i64>(block.run1 - block.run0);
        a.c += (I() + t.operand * n + t.column) * n;
      } else {
        a.a = one;
        a.c += (I() + H()) * n;
      }
      k.weight_grad(a);
    });
    if (output_each_step)
      output_gradient(w, w.states, w.states_panel, w.plan.batch, {first, first, block.rows}, add, member, team);
  }

  // dW_hy^T += dy^T h over one run of rows; h's row 0 stands at row offset of its panels
  void output_gradient(const Workspace<T>& w, const T* h, i64 h_panel, i64 offset, const Run& run, bool add, int member,
                       int team) const {
    const Kernels<T>& k = kernels(w);
    const i64 n = w.panel;
    const auto wanted = [](const GradientTask& t) { return t.kind == GradientTask::output; };
    for_tasks(w, member, team, wanted, [&](const GradientTask& t) {
      WeightGradArgs<T> a{};
      a.a = w.dy + t.column;
      a.a_stride = O();
      a.a_columns = t.columns;
      a.g = h + t.panel * h_panel + offset * n;
      a.g_columns = std::min(n, H() - t.panel * n);
      a.runs = &run;
      a.run_count = 1;
      a.c = w.dw_y + (t.panel * O() + t.column) * n;
      a.add = add;
      k.weight_grad(a);
    });
  }

  // From panels to the flat buffer. output: dy was there, in that many rows
  void unpack_gradient(const Workspace<T>& w, T* out, bool output, i64 output_rows, int member, int team) const {
    const i64 n = w.panel, rows = I() + H() + 1;
    for (i64 p = member; p * n < H(); p += team) {
      const i64 real = std::min(n, H() - p * n);
      const T* from = w.dw + p * rows * n;
      for (i64 i = 0; i < I(); ++i) std::copy_n(from + i * n, real, out + W_xh_ + i * H() + p * n);
      for (i64 i = 0; i < H(); ++i) std::copy_n(from + (I() + i) * n, real, out + W_hh_ + i * H() + p * n);
      if (spec_.bias) std::copy_n(from + (I() + H()) * n, real, out + b_h_ + p * n);
      for (i64 o = 0; o < O(); ++o)
        for (i64 j = 0; j < real; ++j)
          out[W_hy_ + (p * n + j) * O() + o] = output ? w.dw_y[(p * O() + o) * n + j] : T(0);
    }
    if (member != team - 1 || !spec_.bias) return;
    for (i64 o = 0; o < O(); ++o) {
      double total = 0;
      for (i64 r = 0; output && r < output_rows; ++r) total += double(w.dy[r * O() + o]);
      out[b_y_ + o] = T(total);
    }
  }

  // ---- update

  void update(const T* gradient, double* chunks, AdamState& a, double clip_norm, bool check) {
    const Kernels<T>& k = kernels_for<T>(active(), cell_);
    const i64 pieces = (count_ + chunk - 1) / chunk;
    const int threads = count_ > 32 * chunk ? get_num_threads() : 1;
    double scale = 1;
    if (check || clip_norm >= 0) {
      run_team(threads, [&](int member, int team, Barrier&) {
        const auto [from, to] = share(pieces, member, team);
        for (i64 i = from; i < to; ++i)
          chunks[i] = k.square_sum(gradient + i * chunk, std::min(chunk, count_ - i * chunk));
      });
      double total = 0;
      for (i64 i = 0; i < pieces; ++i) total += chunks[i];
      if (check && !std::isfinite(total)) {
        report_gradient(gradient);
        throw std::invalid_argument("the norm of the gradient overflows");
      }
      const double norm = std::sqrt(total);
      if (clip_norm >= 0 && norm > clip_norm) scale = clip_norm / norm;
    }
    const std::unique_lock<std::shared_mutex> lock(params_mutex_);
    const auto t = static_cast<double>(a.step + 1);
    const double c1 = 1 - std::pow(a.beta1, t), root = std::sqrt(1 - std::pow(a.beta2, t));
    AdamArgs<T> args{};
    args.scale = T(scale);
    args.rest1 = T(1 - a.beta1);
    args.rest2 = T(1 - a.beta2);
    args.rate = T(a.epsilon_hat ? a.lr * root / c1 : a.lr / c1);
    args.root_scale = T(a.epsilon_hat ? 1 : 1 / root);
    args.eps = T(a.eps);
    run_team(threads, [&](int member, int team, Barrier&) {
      const auto [from, to] = share(count_, member, team);
      AdamArgs<T> mine = args;
      mine.p = params_ + from;
      mine.m = static_cast<T*>(a.m) + from;
      mine.v = static_cast<T*>(a.v) + from;
      mine.g = gradient + from;
      k.adam(mine, to - from);
    });
    ++a.step;
  }

  // ---- what was found

  void report_inputs(const Workspace<T>& w, const Batch& batch) const {
    if (!batch.check_finite) return;
    const Plan& plan = w.plan;
    if (w.found.x)
      for (i64 b = 0; b < plan.batch; ++b)
        for (i64 t = 0; t < plan.length(b); ++t)
          for (i64 i = 0; i < I(); ++i) {
            const T value = w.x[plan.row(t, b) * w.x_stride + i];
            if (std::isfinite(value)) continue;
            const auto given = read<double>(batch.x, plan.place(b), t, i);
            if (std::isfinite(given))
              throw std::invalid_argument("x holds " + number(given) + " at index " + place({plan.place(b), t, i}) +
                                          "; too large for float32");
            throw_not_finite("x", double(value), {plan.place(b), t, i});
          }
    if (w.found.h0)
      for (i64 b = 0; b < plan.batch; ++b)
        for (i64 j = 0; j < H(); ++j) {
          const auto value = read<T>(batch.h0, plan.place(b), j);
          if (!std::isfinite(value)) throw_not_finite("h0", double(value), {0, plan.place(b), j});
        }
    if (w.found.weights) {
      const std::shared_lock<std::shared_mutex> lock(params_mutex_);
      report_flat(params_, "parameter ");
    }
    if (w.found.x || w.found.h0 || w.found.weights)
      throw std::invalid_argument("h0 or a parameter held a value that is not finite, and changed during the call");
  }

  void report_gradient(const T* gradient) const { report_flat(gradient, "the gradient of "); }

  void report_flat(const T* values, const std::string& what) const {
    for (const Parameter& p : layout(spec_)) {
      const i64 columns = p.shape.back(), size = p.shape.size() == 2 ? p.shape[0] * columns : columns;
      for (i64 i = 0; i < size; ++i) {
        const T value = values[p.offset + i];
        if (std::isfinite(value)) continue;
        p.shape.size() == 2 ? throw_not_finite(what + p.name, double(value), {i / columns, i % columns})
                            : throw_not_finite(what + p.name, double(value), {i});
      }
    }
  }

  static void report_loss(double value) {
    if (!std::isfinite(value)) throw std::invalid_argument("the loss is not finite (" + number(value) + ")");
  }

  Spec spec_;
  int cell_;
  T* params_;
  i64 count_;
  i64 W_xh_ = 0, W_hh_ = 0, b_h_ = 0, W_hy_ = 0, b_y_ = 0;
  std::shared_ptr<Pool<T>> pool_;
  std::mutex train_mutex_;                  // updates come one after another
  mutable std::shared_mutex params_mutex_;  // held shared while the weights are packed, alone while they change
};

}  // namespace

std::vector<Parameter> layout(const Spec& s) {
  if (s.inputs < 1 || s.hidden < 1 || s.outputs < 0)
    throw std::invalid_argument("the network's sizes must be positive");
  std::vector<Parameter> all;
  i64 offset = 0;
  const auto add = [&](const char* name, std::vector<i64> shape) {
    i64 size = 1;
    for (const i64 n : shape) size = product(size, n);
    all.push_back({name, std::move(shape), offset});
    if (__builtin_add_overflow(offset, size, &offset)) throw std::length_error("the network's sizes overflow");
  };
  add("W_xh", {s.inputs, s.hidden});
  add("W_hh", {s.hidden, s.hidden});
  if (s.bias) add("b_h", {s.hidden});
  if (s.outputs) {
    add("W_hy", {s.hidden, s.outputs});
    if (s.bias) add("b_y", {s.outputs});
  }
  return all;
}

i64 parameter_count(const Spec& s) {
  const Parameter last = layout(s).back();
  i64 size = 1;
  for (const i64 n : last.shape) size = product(size, n);
  return last.offset + size;
}

std::unique_ptr<Engine> make_engine(const Spec& spec, Dtype dtype, void* params) {
  if (dtype == Dtype::f32) return std::make_unique<Network<float>>(spec, static_cast<float*>(params));
  if (dtype == Dtype::f64) return std::make_unique<Network<double>>(spec, static_cast<double*>(params));
  throw std::invalid_argument("dtype must be float32 or float64");
}

const char* proof_of_backend() {
  const InstructionSet* set = last_set.load(std::memory_order_relaxed);
  return set ? set->name : "";
}

}  // namespace fastbptt
