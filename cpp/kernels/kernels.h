// The functions of an instruction set: one table of functions per element type, and the structs they take.
//
// Legend: B sequences, T steps, I inputs, H hidden units, O outputs, R rows = real steps of all sequences.
// Row order: by step, then by sequence, the sequences sorted by decreasing length; so the sequences that are still
// running at a step are always the first ones, and step t owns the rows first[t] .. first[t] + active[t].
// Panels: a matrix of rows x columns is stored as ceil(columns / N) panels of [rows][N], N = the table's panel width;
// the columns beyond the last real one are zero up to a whole vector and undefined after it.
// Lanes: for small H the rows lie along the lanes of the vectors instead. A matrix is stored as groups of [columns][V],
// V = lanes: column c of row r at r / V * V * columns + c * V + r % V. first[t] is then a multiple of V, and so are the
// rows at which workers' shares begin; the rows between are dead: of no sequence, with states and gradients of zero.
// Ownership: every pointer belongs to the caller; nothing here allocates, throws, blocks or keeps state.
#ifndef FASTBPTT_KERNELS_H
#define FASTBPTT_KERNELS_H

#include <cstdint>

namespace fastbptt {

using i64 = std::int64_t;

// Two bfloat16 numbers of consecutive rows of weights, the first in the low half: the operand of one bfloat16
// multiply-add instruction. Operands of matrix products may be pairs, sums never are.
using Pair = std::uint32_t;

// The interval from low to high
struct Interval {
  double low = -__builtin_huge_val(), high = __builtin_huge_val();
  bool open = false;  // excludes its ends
  constexpr bool excludes(double a) const { return open ? a <= low || a >= high : a < low || a > high; }
};

// A parameter of a loss
struct LossParameter {
  const char* name = nullptr;
  double preset = 0;
  Interval range = {};
  bool of_targets = false;  // in units of the targets
};

// The parameter of a loss that is a list of numbers within a range, each larger than the one before
struct LossList {
  static constexpr int most_presets = 4;
  const char* name = nullptr;  // null: the loss has none
  double preset[most_presets] = {};
  int presets = 0;
  Interval range = {};
};

// The targets and parameters of a loss
struct LossInfo {
  static constexpr int most_parameters = 4;
  enum class Targets { numbers, classes };  // numbers, or one of as many classes as there are outputs
  enum class One { output, target, row };   // what there is one loss for
  Targets targets = Targets::numbers;
  Interval range = {};            // of the numbers
  bool two_values = false;        // they are the ends of the range, nothing between
  const char* link = "identity";  // the function from outputs to predictions
  int outputs = 1;                // of a target, side by side; of a loss with a list: one for each of its numbers
  One one_for = One::output;
  LossParameter parameters[most_parameters] = {};
  LossList list = {};  // instead of parameters
  constexpr bool excludes(double target) const {
    return range.excludes(target) || (two_values && target > range.low && target < range.high);
  }
};

template <class T>
struct LossKernels;
template <class T>
struct BlockArgs;

struct RowSchedule {
  i64 lead;           // rows of the state before the first step: B, with lanes rounded up to whole groups
  i64 time;           // steps of the longest sequence
  const i64* first;   // [time + 1], first[time] = R
  const i64* active;  // [time + 1], active[time] = 0
};

// A stretch of rows that two operands of a weight gradient walk through in step
struct Run {
  i64 a;      // first row of the left operand
  i64 g;      // first row of the right one
  i64 count;  // rows
};

// y = h W_hy + b_y for some rows, and, if requested, loss and dy
template <class T>
struct OutputArgs {
  i64 outputs;                  // O
  i64 hidden;                   // H
  const T* weights;             // W_hy^T as panels [H panels][..][N], row o at o * N; null: y = h, outputs = hidden
  bool own_weights;             // with lanes: each has weights and a bias of its own, a vector for each number
  i64 weights_panel;            // elements from panel to panel
  const T* bias;                // [O]; null: none
  T* y;                         // [rows][O]
  const LossKernels<T>* loss;   // null: stop here
  const T* parameters;          // the loss's parameters, or the numbers of its list
  i64 per_target;               // outputs of a target; 1 if targets are classes
  const T* targets;             // [rows][O / per_target], if they are numbers
  const std::int32_t* classes;  // [rows], if they are classes
  const T* factor;              // dL / d(loss of that output at one step): [B][O], or with each_factor [rows][O]
  bool each_factor;             // each row has factors of its own
  double* loss_sum;  // [B][O] the same losses summed over steps, before the factor or with each_factor times it; of
                     // several outputs: at the first
  T* dy;             // [rows][O] out; null: loss only
  T* dh;             // where weights is null and dy is not: dy again as panels [rows][N], or in lanes
  i64 dh_panel;
  T* dy_lanes;                 // with lanes: dy again, groups of [O][V]
  const BlockArgs<T>* blocks;  // of a loss that is a sum of others, each of columns of its own
  int block_count;
};

// dy null: losses only
template <class T>
struct LossKernels {
  const char* name;
  const LossInfo* info;
  void (*rows)(const OutputArgs<T>&, i64 row, i64 sequence, i64 count);
};

// Rows in panels, as an operand of a product: row 0 of panel 0, stride between panels, real columns
template <class T>
struct Operand {
  const T* rows;
  i64 panel;
  i64 columns;
};

// Buffer for the operands of a step as pairs: a slot for each, panels [B rows][N pairs]. Then the weights'
// panels, in the rows below W_hy^T, hold pairs too: of ceil(columns / 2) rows for each operand, one after the other.
struct PairBuffer {
  static constexpr int hidden = 2;  // forward: two inputs, then the hidden operand of each stage; else all gradients
  Pair* rows = nullptr;             // null: everything is T
  i64 slot = 0, panel = 0;          // elements from slot to slot, from panel to panel
};

// Whether a long call shall end; not free to ask
struct StopSign {
  bool (*look)(StopSign&);
};

// Gaussian noise on the sums of a layer direction, or on its inputs: kernels/noise.inc
template <class T>
struct NoiseArgs {
  const std::uint64_t* base;  // [B rows] of each sorted sequence: the key at its step 0
  std::uint64_t per_step;     // what each step adds to it
  T scale;                    // standard deviation
  const T* unit_scale;        // of each unit, times it, up to a whole panel; null: 1
  // Adds to some rows of a panel from sorted sequence `row` on, to `vectors` vectors of units from an even one on; or,
  // in lanes, to all `units` of groups
  void (*add)(const NoiseArgs&, i64 t, i64 row, i64 rows, i64 unit, int vectors, T* to);
  void (*add_lanes)(const NoiseArgs&, i64 t, i64 row, i64 rows, i64 units, T* to);
};

// Zoneout of the states of a layer direction: kernels/zoneout.inc
template <class T>
struct ZoneArgs {
  const std::uint64_t* base;  // keys, as of noise
  std::uint64_t per_step;
  T share[2];  // of each state: what is kept
  bool draws;  // units at random, else this share of each
  void (*forward)(const ZoneArgs&, i64 t, i64 row, i64 rows, i64 unit, int vectors, int states, i64 stride, T* now,
                  const T* before, T* candidate);
  void (*backward)(const ZoneArgs&, i64 t, i64 row, i64 rows, i64 unit, int vectors, int states, i64 stride, T* dh,
                   T* const* carry, T* kept);
};

// A worker's units, where a team shares those of every step instead of its rows
struct UnitShare {
  i64 panel0 = 0, panel1 = 0;  // its panels
  bool first = false;          // does what is done once for a row: the readout
  // After each stage, with the whole team: from then on all units of the stage are there. May change the panels. false:
  // the worker leaves the rest undone
  bool (*meet)(UnitShare&) = nullptr;
};

// Pooling of the states over steps, with a row for each sequence: their sum, or their maximum and its step. Of equal
// ones the first counts, or the last
template <class T>
struct PoolArgs {
  T* to;  // panels of B rows
  i64 panel;
  std::int32_t* step;  // laid out as `to`; null: the sum
  bool last;
};

// Steps t0 .. t1 of one layer in one direction. Rows count from the window's first one, first[t0].
template <class T>
struct ForwardArgs {
  const RowSchedule* schedule;
  i64 t0, t1;
  i64 inputs, hidden;
  const T* x;  // [rows][x_stride]; null: the input comes from below
  i64 x_stride;
  Operand<T> below[2];  // the layer below, both directions
  int below_count;
  const T* weights;  // one pre-activation after the other: panels [I or 0 + H or 0][N], W_xh above W_hh
  const T* bias;     // [preactivations][panels * N]
  bool own_weights;  // as in OutputArgs
  bool keep = true;  // saved holds all rows of the window, else those of two steps: a step's from 0 and from B on
                     // in turn
  T* saved;          // B + rows each: the state before the window, then row r at B + r; or 2 B
  i64 saved_stride, panel;  // elements from one saved activation to the next, and from panel to panel
  const T* setting;         // [panels * N], or in lanes lane_setting_vectors(H) vectors: the cell's number of each unit
  T* recurrent;             // with a mask h times it, in such rows, out: what W_hh is multiplied with
  const T* mask;            // panels of B rows, for all steps, also of other operands of W_hh; null: none
  i64 mask_panel;
  const OutputArgs<T>* each_step;  // null: no output during the recursion
  const PoolArgs<T>* pool;         // null: nothing is pooled
  const NoiseArgs<T>* noise;       // null: none
  const ZoneArgs<T>* zone;         // null: none
  T* candidate;                    // h before zoneout, in such rows as saved; null: not kept
  T* last;                         // [states] of B rows, out: each sequence's last state in the window
  i64 last_stride, last_panel;
  PairBuffer pairs;
  StopSign* stop;    // null: never; when it says so, the rest is left undone
  UnitShare* units;  // null: all
};

// Steps t1-1 down to t0. dh of a row = dense row (dy) times W_hy^T + addend + recurrent part + what the cell carried
template <class T>
struct BackwardArgs {
  const RowSchedule* schedule;
  i64 t0, t1;
  i64 t_first;  // the window's first step: the state before it stands in the first B rows of saved
  i64 hidden, outputs;
  const T* weights;  // panels [O + pre-activations with a hidden part * H][N]: W_hy^T above W_hh^T; with lanes blocks
  bool own_weights;  // as in OutputArgs
  const T* saved;    // as in ForwardArgs
  i64 saved_stride, panel;
  i64 window;         // the row that ForwardArgs' rows count from; dy's and dh's too
  const T* dy;        // [rows][O], or [B][O] for the last steps only; null: none
  const T* dy_lanes;  // .. in lanes
  bool dy_each_step;
  const T* dh;  // panels of rows (or B rows); null: none
  i64 dh_panel;
  bool dh_each_step;
  bool dh_shared;  // B rows, each for all steps of its sequence
  const T* mask;   // as in ForwardArgs
  i64 mask_panel;
  const ZoneArgs<T>* zone;  // as in ForwardArgs
  const T* candidate;       // h before zoneout, which the cell's backward reads in its place; null: it does not read h
  T* kept;                  // [states] of B rows, in and out: what goes on beside the cell; only that of h waits a step
  T* dgates;                // [preactivations] their gradients; row r at r - base
  i64 dgates_stride, dgates_panel;
  i64 base;
  const T* next;  // [preactivations] of B rows: dgates of step t1
  i64 next_stride, next_panel;
  T* carry;           // [carries] of B rows, in and out
  bool carry_enters;  // it is not zero before the last step
  i64 carry_stride, carry_panel;
  // of each row, at r - base; null: not wanted
  T* dh_kept;           // laid out as one of dgates: dL/dh, with all that enters at its step
  double* squares;      // [rows][2][squares]: sums of squares of that, and of the gates' gradients
  const T* setting;     // as in ForwardArgs
  bool learns_setting;  // then dgates has one more: what each row adds to the gradient of its units' number
  PairBuffer pairs;
  StopSign* stop;    // as in ForwardArgs
  UnitShare* units;  // as in ForwardArgs
};

// Gradient of what a step reads: dgates times a transposed matrix, for the rows of steps t0 .. t1
template <class T>
struct InputGradArgs {
  const RowSchedule* schedule;
  i64 t0, t1;
  i64 hidden, columns;
  const T* weights;                // panels over columns: [taking part * H][N]
  i64 weights_panel;               // elements from panel to panel
  i64 weights_rows, weights_skip;  // with lanes: of each block, and those before what takes part
  bool own_weights;                // as in OutputArgs
  const T* dgates;
  i64 dgates_stride, dgates_panel;
  i64 base;
  bool initial;        // of the state before (pre-activations that read it), not of the input (those that read that)
  const i64* lengths;  // [B] sorted; null: steps stay as they are, else t becomes length - 1 - t
  const i64* order;    // [B] place of sorted sequence b in out; null: out is in rows
  i64 out_sequence;    // order: elements from sequence to sequence
  i64 out_row;         // elements from step to step, or from row to row
  i64 out_base;        // without order: the row at out
  i64 out_panel;       // elements from panel to panel
  bool add;
  T* out;
  bool out_in_lanes;  // with lanes: out is in lanes too
  PairBuffer pairs;
};

// C += A^T G over runs of rows; a: rows of a dense matrix or of one panel, g: rows of one panel. Their elements are T,
// or pairs, each of two consecutive rows.
template <class T, class E = T>
struct WeightGradArgs {
  const E* a;
  i64 a_stride;  // elements from row to row; 0 repeats one row
  i64 a_columns;
  const E* g;
  i64 g_columns;  // real columns of this panel
  const Run* runs;
  i64 run_count;
  T* c;      // [a_columns][N]
  bool add;  // false: overwrite
};

// The same with lanes: columns column0 .. column1 of a by `right` columns of g, lane by lane
template <class T>
struct LaneGradArgs {
  const T* a;  // null: ones, and c has one row
  i64 a_columns;
  i64 column0, column1;
  const T* g;
  i64 g_columns;       // from group to group
  const i64* g_place;  // [right] elements from a group's first number to each column's
  i64 right;
  const Run* runs;  // whole groups
  i64 run_count;
  T* c;  // [a_columns][right][V]
  bool add;
  i64 every = 1;  // groups from one that counts to the next
};

// The slots and settings of an optimiser
struct OptimizerInfo {
  static constexpr int most_slots = 3, most_settings = 7, most_numbers = 9;
  const char* slots[most_slots] = {};        // flat buffers like the parameters, zero before the first step
  int required = 0;                          // the first of them; an additional slot enables a variant
  const char* settings[most_settings] = {};  // flags are 0 or 1
  int sum = -1, kept = -1;                   // a slot to which steps add up, and the setting: how much of it each keeps
  int odd = 0;                               // bits of the slots that change sign with parameter and gradient
};

// Some elements of the flat buffers
template <class T>
struct UpdateArgs {
  T* p;
  T* slot[OptimizerInfo::most_slots];  // null: not there
  const T* g;
  T scale;                                // of the gradient (clipping)
  T number[OptimizerInfo::most_numbers];  // derived from the settings for this step
};

template <class T>
struct OptimizerKernels {
  const char* name;
  const OptimizerInfo* info;
  // numbers, all 0 before, from settings; step counts from 1. The caller rounds them to T.
  void (*resolve)(const double* settings, double step, double* numbers);
  void (*update)(const UpdateArgs<T>&, i64 n);
};

// Rows of a cell's saved activations, for its element-wise part
template <class T>
struct ElementArgs {
  T* now;           // saved activations of this step
  const T* before;  // .. of the step before
  i64 saved_stride;
  T* dgates;  // backward: the first one holds dh (or the gradient of the stage's own operand) on the way in
  i64 dgates_stride;
  T* carry;
  i64 carry_stride;
  i64 rows;          // N elements apart in all of them
  int vectors;       // of each row
  const T* setting;  // of the cell, for each unit: of place `at` in a row it is at `at & setting_mask`
  i64 setting_mask;
  T* d_setting;  // laid out as one of dgates, out: the gradient of that number; null: not wanted
};

// A gate's pre-activation: the output of one matrix product of the forward step. dgates holds the gradients of all
// pre-activations, in the same order.
struct Preactivation {
  static constexpr int none = -1, before = -2;
  int gate = 0;       // block of columns in W_xh and W_hh
  bool input = true;  // includes x W_xh
  // what is multiplied by W_hh: nothing, the h of the step before, or a saved activation of an earlier stage; of those
  // one for all pre-activations of a stage
  int hidden = before;
  int saved = 0;  // holds the sum, then the gate
  int stage = 0;
  bool is_sigmoid = false;  // a sigmoid gate, between 0 and 1
};

// The structure of a cell, without its element-wise arithmetic
struct CellInfo {
  static constexpr int most_preactivations = 4, most_states = 2, most_stages = 2;
  int gates = 1;  // blocks of H columns in W_xh, W_hh, b_h
  const char* gate_names[most_preactivations] = {"a"};
  int states = 1;  // saved activations 0 .. states: what is carried from step to step, h first
  const char* state_names[most_states] = {"h"};
  int given = 0;  // the first state that a caller gives and gets; of 1, h is a function of that: CellKernels::show
  int saved = 1;  // the states, and the other activations that backward reads
  int stages =
      1;  // a later one starts when the one before is done for all units; backward goes through them in reverse
  int preactivations = 1;
  Preactivation preactivation[most_preactivations] = {};  // the one at place gates and later is biased by extra_bias
  const char* extra_bias = nullptr;                       // b_hn; null: none
  int carries = 0;                    // gradients carried to the step before beside the recurrent product ..
  int carry_state[most_states] = {};  // .. and the state that each belongs to
  bool bounded = true;                // h lies between -1 and 1
  const char* setting = nullptr;      // the name of the cell's number, one for each unit; null: none
  // The states between which Pascanu's Omega looks at gradients: the sums behind tanh or ReLU, or the leaky h
  enum class Omega { none, tanh, relu, leaky } omega = Omega::none;
};

template <class T>
struct CellKernels {
  const char* name;
  const CellInfo* info;
  void (*forward[CellInfo::most_stages])(const ElementArgs<T>&);
  void (*backward[CellInfo::most_stages])(const ElementArgs<T>&);
  // Of a cell whose h is a function of the state that is given, else null: h from that; and dh, into its gradient
  // through h, which comes before backward
  void (*show)(const ElementArgs<T>&);
  void (*show_back)(const ElementArgs<T>&);
};

// The time loops of a layer, for one layout of rows
template <class T>
struct LayerKernels {
  // rows row0 .. row1 of the sorted batch
  void (*forward)(const CellKernels<T>&, const ForwardArgs<T>&, i64 row0, i64 row1);
  void (*backward)(const CellKernels<T>&, const BackwardArgs<T>&, i64 row0, i64 row1);
  void (*input_grad)(const CellKernels<T>&, const InputGradArgs<T>&, i64 row0, i64 row1);
  // y rows from `row` on, of states from row h_row of h on
  void (*outputs)(const OutputArgs<T>&, const T* h, i64 h_panel, i64 h_row, i64 row, i64 sequence, i64 count);
};

// With lanes the columns of a matrix of weights stand in blocks of [rows][columns of the block], of so many columns,
// the last with the rest; most: LaneKernels::block. Each unit inlines these three: a copy of its own instructions must
// not serve the others
[[gnu::always_inline]] inline i64 lane_block(i64 columns, i64 most) {
  if (columns <= most) return columns;
  if (const i64 rest = columns % most; rest == 0 || rest >= most / 3) return most;
  const i64 blocks = (columns + most - 1) / most, block = (columns + blocks - 1) / blocks;  // of about equal width
  return block + block % 2;
}

// The largest layers and readouts whose rows may lie in lanes
constexpr int most_lane_units = 40, most_lane_outputs = 64, most_lanes = 16;

// With lanes so many groups of rows, and at most one more, go through a whole step before the next ones do
[[gnu::always_inline]] inline i64 lane_groups_at_once(i64 hidden) { return hidden > 32 ? 2 : 64 / hidden / 2 * 2; }
[[gnu::always_inline]] inline i64 lane_setting_vectors(i64 hidden) {
  return (lane_groups_at_once(hidden) + 1) * hidden;
}

template <class T>
struct LaneKernels {
  LayerKernels<T> layer;
  int block;  // the most columns of a block of weights
  void (*weight_grad)(const LaneGradArgs<T>&);
  void (*totals)(const T* from, i64 n, T* to);  // to[i] = the sum of the lanes of vector i
  // so many numbers, one after the other in the memory of each lane, to vectors: `columns` of them one behind the
  // other, the next ones `step` elements on; from null: zeros. seen[lane] is not 0 then if one is not finite
  void (*columns)(const T* const* from, i64 numbers, i64 columns, i64 step, T* to, T* seen);
  void (*add_noise)(const NoiseArgs<T>&, i64 t, i64 row, i64 rows, i64 units, T* to);
};

template <class T>
struct Kernels {
  int panel;   // N
  int vector;  // lanes
  int tile_rows;
  LayerKernels<T> panels;
  const LaneKernels<T>* lanes;  // null in a unit that takes them from another: dispatch.cpp
  void (*weight_grad)(const WeightGradArgs<T>&);
  // null: no products of pairs in this instruction set
  void (*weight_grad_pairs)(const WeightGradArgs<T, Pair>&);
  // out[j] = the pair of first[j] and second[j], n rounded up to a whole vector; second null: zeros. out may be first.
  void (*pair_rows)(const T* first, const T* second, i64 n, Pair* out);
  // out[0..columns) += a[0..n) w, w: n rows of a row-major matrix, ld elements apart
  void (*row_product)(const T* a, i64 n, const T* w, i64 ld, i64 columns, T* out);
  // panel[k][0..N) = w[k][column0 ..), or w[column0 ..][k] if transposed; n columns are real
  void (*pack)(const T* w, i64 ld, bool transposed, i64 rows, i64 n, T* panel);
  // The way back of a transposed one: w[column0 ..][k] = panel[k][0..n)
  void (*unpack_transposed)(const T* panel, i64 rows, i64 n, T* w, i64 ld);
  // null in a unit that takes them from another, as lanes
  void (*add_noise)(const NoiseArgs<T>&, i64 t, i64 row, i64 rows, i64 unit, int vectors, T* to);
  decltype(ZoneArgs<T>::forward) zone_forward;
  decltype(ZoneArgs<T>::backward) zone_backward;
  // copies values to dst; returns false if one of them is not finite
  bool (*copy_f32)(const float* src, i64 stride, i64 n, T* dst);
  bool (*copy_f64)(const double* src, i64 stride, i64 n, T* dst);
  bool (*finite)(const T* p, i64 n);
  bool (*zero)(const T* p, i64 n);
  double (*square_sum)(const T* p, i64 n);
  int squares;  // doubles that a row's sum of squares takes: lanes, for double in three scales
  // square root of the sum of such sums, stride doubles apart
  double (*root)(const double* squares, i64 stride, i64 rows);
  void (*limit)(T* p, i64 n, T most);  // clips magnitudes to most; NaN stays NaN
  void (*tanh)(const T* a, T* out, i64 n);
  // n rounds of independent multiply-adds on registers, at peak throughput: the benchmark's reference. Returns the
  // number of operations.
  double (*multiply_adds)(i64 n, T* sink);
};

struct InstructionSet {
  const char* name;            // written by the unit itself
  const InstructionSet* base;  // null, or the one whose tables complete this one: dispatch.cpp
  const Kernels<float>* f32;
  const Kernels<double>* f64 = nullptr;
  const CellKernels<float>* cells_f32 = nullptr;
  const CellKernels<double>* cells_f64 = nullptr;
  int cells = 0;
  const LossKernels<float>* losses_f32 = nullptr;
  const LossKernels<double>* losses_f64 = nullptr;
  int losses = 0;
  const OptimizerKernels<float>* optimizers_f32 = nullptr;
  const OptimizerKernels<double>* optimizers_f64 = nullptr;
  int optimizers = 0;
};

}  // namespace fastbptt

#endif
