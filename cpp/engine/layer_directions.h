// The buffers of a network's layer directions, and the pool that keeps them between calls.
#ifndef FASTBPTT_ENGINE_LAYER_DIRECTIONS_H
#define FASTBPTT_ENGINE_LAYER_DIRECTIONS_H

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "interrupt.h"
#include "dispatch.h"
#include "engine/arguments.h"
#include "engine/topology.h"
#include "engine/units.h"
#include "engine/workspace.h"

namespace fastbptt {

// A part of the weight gradients: columns of the left operand times one panel of the right one
struct GradientTask {
  // later: the hidden operand of a later stage; setting: the cell's number
  enum Kind { input, below, hidden, bias, output, later, setting, kinds } kind;
  int preactivation;    // whose dgates are the right operand
  i64 panel;            // of the right operand
  i64 source;           // below: the direction that the left operand comes from
  i64 operand;          // panel of the left operand, or as many columns of x
  i64 column, columns;  // of the left operand (within its panel)
};

// Rows are in the direction's own order: a reverse one counts its steps from each sequence's end.
template <class T>
struct LayerBuffers {
  // written by forward, read by backward
  T *x = nullptr, *saved = nullptr, *last = nullptr;
  std::int32_t* tokens = nullptr;
  T *w_forward = nullptr, *w_backward = nullptr, *bias = nullptr;
  T* setting = nullptr;  // the cell's number of each unit, as in ForwardArgs
  // of low rank: N_hh M_hh, and the transposes of both, as they were when the weights were packed
  T *recurrent = nullptr, *n_transposed = nullptr, *m_transposed = nullptr;
  T* w_input[2] = {};                        // by the direction below that the columns come from
  T *dropped = nullptr, *crossed = nullptr;  // h as the layer above reads it: in this order, in the other one
  T *candidate = nullptr, *kept = nullptr;   // of zoneout: h before it, null: not read; what goes on beside the cell
  T* mask = nullptr;                         // of h where it is multiplied by W_hh, B rows; null: none
  T* checkpoints = nullptr;                  // the states before each window but the first
  i64 saved_stride = 0, panel = 0, above_panel = 0;
  i64 batch_stride = 0, batch_panel = 0;  // of matrices with one row for each sequence
  Operand<T> below[2] = {};

  // additional buffers of a loss or a backward pass
  T *pooled = nullptr, *d_pooled = nullptr;  // the top layer's states over all steps, B rows; dL/dh from there
  std::int32_t* maximum = nullptr;           // the step of the maximum, of B rows
  T* d_recurrent = nullptr;                  // of low rank: the gradient of the product
  T* change = nullptr;                       // of B rows: the gradient of the change to the step after
  T *dh = nullptr, *d_final = nullptr, *carry = nullptr, *next = nullptr, *dw = nullptr, *dw_y = nullptr, *dx = nullptr;
  i64 dh_panel = 0;
  std::vector<GradientTask> tasks;
  i64 task_columns = 0;
  T* x_rows = nullptr;  // with lanes: a step's inputs, a row for each sequence
};

// The loss of a block of outputs during a pass: its columns, its part of the workspace's buffers, its numbers
template <class T>
struct BlockBuffers {
  i64 first = 0, width = 0;
  T *targets = nullptr, *factor = nullptr;  // as in OutputArgs
  std::int32_t* classes = nullptr;
  i64 sums = 0;                      // where in loss_sum and idle_sum
  bool each_factor = false;          // a weight for each step
  std::vector<double> exact_factor;  // [B] sorted; with each_factor what the steps' weights are multiplied with
  T parameters[LossInfo::most_parameters] = {};
  std::vector<T> list;  // instead of them
};

// What each number of the penalties on states is multiplied with
struct ActivityScales {
  static constexpr int terms = 3;
  double l1 = 0, l2 = 0, change = 0;
  bool on = false;
};

// The parts of a pass over a batch that need memory
struct Needs {
  Steps steps = Steps::last;    // the outputs, and where the loss is
  bool keep = true;             // what a backward pass reads
  bool outputs = false;         // y, even if it is the hidden states
  bool loss = false;            // y and its loss
  bool each_factor = false;     // .. with a weight for each step
  bool backward = false;        // gradients
  bool gradient = false;        // .. into the workspace's own buffer
  bool input_gradient = false;  // .. of the input as well
  bool d_final = false;         // .. from the final states
  bool d_hidden = false;        // .. from the top layer's hidden states
  bool drop = false, noise = false, masks = false, zones = false;
  bool zone_draws = false;
  bool norms = false, numbers = false;   // of what flows back at each step
  bool activity = false, omega = false;  // penalties on states
  bool all_steps() const { return steps == Steps::all; }
  bool operator==(const Needs&) const = default;
};

// The requirements that an arena was laid out for; while they do not change, neither do the addresses
struct ArenaLayout {
  const InstructionSet* set = nullptr;
  std::uint64_t plan = 0;
  Needs needs;
  bool operator==(const ArenaLayout&) const = default;
};

template <class T>
struct Workspace {
  const InstructionSet* set = nullptr;
  i64 panel = 0;  // columns of a panel; in lanes H
  i64 lanes = 1;  // rows of a group in lanes; 1: the rows are in panels
  // Where each lane is a network of its own (together.h): numbers of each weight, that is lanes, else 1; how many sums
  // of its own each weight gradient is; the rows of a step of one of these networks by itself
  i64 each = 1, chains = 1, rows_alone = 0;
  BatchPlan plan;
  Findings found;
  Stop stop;
  bool shares_units = false;  // a team shares the units of each step, not the sequences
  UnitMeeting meeting;        // .. and meets here
  std::vector<LayerBuffers<T>> layers;
  bool keeps = true;  // the saved activations of all steps of a window
  bool drop = false;  // dropout between the layers, from this seed, with this probability
  std::uint64_t dropout_seed = 0;
  double dropout = 0;
  double input_noise = 0, recurrent_noise = 0;  // standard deviations in this pass
  bool zones = false, zone_draws = false;       // zoneout, its units drawn
  std::uint64_t* noise_keys = nullptr;          // [2][layer directions][B]: engine/noise.h
  T* noise_scales = nullptr;  // [layer directions][panels * panel] of each unit's sums; null: recurrent_noise has it
  bool noisy() const { return input_noise > 0 || recurrent_noise > 0; }
  bool packed = false;         // the caller's rows are in the order of the plan
  std::vector<i64> dx_places;  // [B] sorted: elements from the start of the input's gradient to a sequence's first step
  bool d_final = false;        // a gradient enters through the final hidden states
  bool carry_enters = false;   // .. or through those of another state, so that what is carried begins with it
  bool input_weights = false;  // the first layer's transposed input weights are packed
  ActivityScales activity;
  double omega = 0;                // what each sequence's is multiplied with
  std::vector<double> omega_sums;  // by layer direction

  Arena kept;  // buffers filled by forward
  ArenaLayout kept_layout;
  T *y = nullptr, *y_last = nullptr, *y_reverse = nullptr, *b_y = nullptr, *static_rows = nullptr;
  i64 x_stride = 0;
  PairBuffer pairs;  // a step's operands, of all workers

  Arena scratch;
  ArenaLayout scratch_layout;
  T* dy_lanes = nullptr;
  T *dy = nullptr, *dy_reverse = nullptr, *dgates = nullptr, *dh_kept = nullptr, *targets = nullptr, *factor = nullptr,
    *gradient = nullptr, *d_initial[CellInfo::most_states] = {};
  T* omega_rows = nullptr;          // laid out as one of dgates
  double* omega_values = nullptr;   // of each row of a block
  double* activity_sums = nullptr;  // of each layer direction, term and sequence
  double *squares = nullptr, *loss_sum = nullptr, *idle_sum = nullptr, *db_y = nullptr;
  i64 dgates_stride = 0, dgates_panel = 0;
  PairBuffer block_inputs, block_gates;  // a block's operands of the weight gradients: pairs of consecutive rows
  std::vector<BlockBuffers<T>> blocks;   // of the objective's
  std::vector<i64> gate_places[GradientTask::kinds];  // with lanes: the columns of right operands
  std::vector<char> vanished;                         // by worker: all gradients before the current block are zero

  std::vector<std::unique_ptr<Workspace>> parts;  // by worker, of those that compute their sequences apart
};

template <class T>
struct Net : Topology {
  Net(const Spec& spec, T* params) : Topology(spec), params(params) {}
  T* params;  // flat, owned by the caller

  // The cell's numbers of a layer direction's units
  void read_setting(std::size_t i, T* out) const {
    const i64 row = static_cast<i64>(i);
    for (i64 unit = 0; unit < H(); ++unit)
      out[unit] =
          static_cast<T>(spec.learn_setting ? 1 / (1 + std::exp(-double(params[layer_directions[i].logit + unit])))
                                            : spec.setting_of(row, unit));
  }
};

constexpr std::size_t size_of(i64 n) { return static_cast<std::size_t>(n); }

// A worker's share of n things, in one stretch
inline std::pair<i64, i64> share(i64 n, int worker, int team) { return {n * worker / team, n * (worker + 1) / team}; }

template <class T>
const Kernels<T>& kernels_for(const Workspace<T>& w) {
  return kernels_of<T>(*w.set);
}
template <class T>
const LayerKernels<T>& layer_kernels(const Workspace<T>& w) {
  return w.lanes > 1 ? kernels_for(w).lanes->layer : kernels_for(w).panels;
}
template <class T>
const CellKernels<T>& cell_for(const Net<T>& net, const Workspace<T>& w) {
  return cell_of<T>(*w.set, net.cell);
}

// h as it is multiplied by W_hh, in the rows of saved: with recurrent dropout one more of these
template <class T>
T* recurrent_operand(const Net<T>& net, const LayerBuffers<T>& b) {
  return b.saved + (b.mask ? net.info.saved * b.saved_stride : 0);
}

template <class T>
i64 panels_of(const Net<T>& net, const Workspace<T>& w) {
  return (net.H() + w.panel - 1) / w.panel;
}

// Columns of the transpose of M_hh: whole vectors
template <class T>
i64 padded_rank(const Net<T>& net, const Workspace<T>& w) {
  const i64 lanes = kernels_for(w).vector;
  return (net.spec.rank + lanes - 1) / lanes * lanes;
}

// In lanes, the first number of a row of `columns`; the others follow at a distance of w.lanes
template <class T, class U>
U* lane_of(const Workspace<T>& w, U* matrix, i64 columns, i64 row) {
  return matrix + row / w.lanes * w.lanes * columns + row % w.lanes;
}

// One row of `hidden` numbers out of panels or lanes
template <class T>
void read_row(const Workspace<T>& w, i64 hidden, const T* panels, i64 panel, i64 row, T* out) {
  if (w.lanes > 1) {
    const T* from = lane_of(w, panels, hidden, row);
    for (i64 j = 0; j < hidden; ++j) out[j] = from[j * w.lanes];
    return;
  }
  for (i64 j = 0; j < hidden; j += w.panel)
    std::copy_n(panels + j / w.panel * panel + row * w.panel, std::min(w.panel, hidden - j), out + j);
}

// Row t of sorted sequence b
template <class T>
T* row_of(const Workspace<T>& w, const RowTarget& to, i64 b, i64 t, i64 columns) {
  const BatchPlan& plan = w.plan;
  return static_cast<T*>(to.data) +
         (w.packed ? plan.row(t, b) * columns : plan.place(b) * to.sequence + plan.step(t, b) * to.step);
}

// Zeros behind the caller's sequence that ends with sorted sequence b
template <class T>
void clear_after_end(const Workspace<T>& w, const RowTarget& to, i64 b, i64 columns) {
  for (i64 t = w.plan.length(b); !w.packed && w.plan.is_last(b) && w.plan.step(t, b) < w.plan.time; ++t)
    std::fill_n(row_of(w, to, b, t, columns), columns, T(0));
}

// n numbers of a row of the caller's (B, T, n), or packed, array into `to`; false if one is not finite
template <class T>
bool copy_row(const Workspace<T>& w, const Array& a, i64 b, i64 step, i64 n, T* to) {
  const BatchPlan& plan = w.plan;
  return w.packed ? copy_numbers(kernels_for(w), a, plan.row(step, b), 0, n, 2, to)
                  : copy_numbers(kernels_for(w), a, plan.place(b), step, n, 2, to);
}

// The final states of all layer directions, (directions, B, hidden), of the caller's sequences. batch: B, if these are
// some of them
template <class T>
void read_final(const Workspace<T>& w, i64 hidden, int state, T* out, i64 batch = 0) {
  if (batch == 0) batch = w.plan.callers_batch;
  for (std::size_t p = 0; p < w.layers.size(); ++p)
    for (i64 b = 0; b < w.plan.batch; ++b)
      if (w.plan.is_last(b))
        read_row(w, hidden, w.layers[p].last + state * w.layers[p].batch_stride, w.layers[p].batch_panel, b,
                 out + (static_cast<i64>(p) * batch + w.plan.place(b)) * hidden);
}

// Pool of workspaces between calls; a tape may keep it alive after its network.
template <class T>
struct WorkspacePool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace<T>>> free;

  WorkspacePool() { free.reserve(most); }
  std::unique_ptr<Workspace<T>> get() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (free.empty()) return std::make_unique<Workspace<T>>();
    auto w = std::move(free.back());
    free.pop_back();
    return w;
  }
  static constexpr std::size_t most = 2;  // one for training, one for temporary forward results
  void put(std::unique_ptr<Workspace<T>> w) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (free.size() < most) free.push_back(std::move(w));
  }
};

template <class T>
class BorrowedWorkspace {
 public:
  explicit BorrowedWorkspace(std::shared_ptr<WorkspacePool<T>> pool) : pool_(std::move(pool)), w_(pool_->get()) {}
  ~BorrowedWorkspace() { pool_->put(std::move(w_)); }
  BorrowedWorkspace(const BorrowedWorkspace&) = delete;
  BorrowedWorkspace& operator=(const BorrowedWorkspace&) = delete;
  Workspace<T>& operator*() const { return *w_; }
  Workspace<T>* operator->() const { return w_.get(); }
  bool is_from(const std::shared_ptr<WorkspacePool<T>>& pool) const { return pool == pool_; }

 private:
  std::shared_ptr<WorkspacePool<T>> pool_;
  std::unique_ptr<Workspace<T>> w_;
};

}  // namespace fastbptt

#endif
