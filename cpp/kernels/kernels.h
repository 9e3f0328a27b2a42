// The functions of an instruction set: one table of functions per element type, and the structs they take.
//
// Legend: B sequences, T steps, I inputs, H hidden units, O outputs, R rows = real steps of all sequences.
// Row order: by step, then by sequence, the sequences sorted by decreasing length; so the sequences that are still
// running at a step are always the first ones, and step t owns the rows first[t] .. first[t] + active[t].
// Panels: a matrix of rows x columns is stored as ceil(columns / N) panels of [rows][N], N = the table's panel width;
// the columns beyond the last real one are zero up to a whole vector and undefined after it. Ownership: every pointer
// belongs to the caller; nothing here allocates, throws, blocks or keeps state.
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
  i64 batch;
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
  i64 weights_panel;            // elements from panel to panel
  const T* bias;                // [O]; null: none
  const T* addend;              // [rows][O], added to y; null: none
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
  T* dh;             // where weights is null and dy is not: dy again as panels [rows][N]
  i64 dh_panel;
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
  bool keep = true;  // saved holds all rows of the window, else those of two steps: a step's from 0 and from B on
                     // in turn
  T* saved;          // B + rows each: the state before the window, then row r at B + r; or 2 B
  i64 saved_stride, panel;  // elements from one saved activation to the next, and from panel to panel
  T setting;
  const OutputArgs<T>* each_step;  // null: no output during the recursion
  const PoolArgs<T>* pool;         // null: nothing is pooled
  T* last;                         // [states] of B rows, out: each sequence's last state in the window
  i64 last_stride, last_panel;
  PairBuffer pairs;
  StopSign* stop;  // null: never; when it says so, the rest is left undone
};

// Steps t1-1 down to t0. dh of a row = dense row (dy) times W_hy^T + addend + recurrent part + what the cell carried
template <class T>
struct BackwardArgs {
  const RowSchedule* schedule;
  i64 t0, t1;
  i64 t_first;  // the window's first step: the state before it stands in the first B rows of saved
  i64 hidden, outputs;
  const T* weights;  // panels [O + pre-activations with a hidden part * H][N]: W_hy^T above W_hh^T
  const T* saved;    // as in ForwardArgs
  i64 saved_stride, panel;
  i64 window;   // the row that ForwardArgs' rows count from; dy's and dh's too
  const T* dy;  // [rows][O], or [B][O] for the last steps only; null: none
  bool dy_each_step;
  const T* dh;  // panels of rows (or B rows); null: none
  i64 dh_panel;
  bool dh_each_step;
  bool dh_shared;  // B rows, each for all steps of its sequence
  T* dgates;       // [preactivations] their gradients; row r at r - base
  i64 dgates_stride, dgates_panel;
  i64 base;
  const T* next;  // [preactivations] of B rows: dgates of step t1
  i64 next_stride, next_panel;
  T* carry;  // [carries] of B rows, in and out
  i64 carry_stride, carry_panel;
  // of each row, at r - base; null: not wanted
  T* dh_kept;       // laid out as one of dgates: dL/dh, with all that enters at its step
  double* squares;  // [rows][2][squares]: sums of squares of that, and of the gates' gradients
  T setting;
  PairBuffer pairs;
  StopSign* stop;  // as in ForwardArgs
};

// Gradient of what a step reads: dgates times a transposed matrix, for the rows of steps t0 .. t1
template <class T>
struct InputGradArgs {
  const RowSchedule* schedule;
  i64 t0, t1;
  i64 hidden, columns;
  const T* weights;   // panels over columns: [taking part * H][N]
  i64 weights_panel;  // elements from panel to panel
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

// The slots and settings of an optimiser
struct OptimizerInfo {
  static constexpr int most_slots = 3, most_settings = 7, most_numbers = 9;
  const char* slots[most_slots] = {};        // flat buffers like the parameters, zero before the first step
  int required = 0;                          // the first of them; an additional slot enables a variant
  const char* settings[most_settings] = {};  // flags are 0 or 1
  int sum = -1, kept = -1;                   // a slot to which steps add up, and the setting: how much of it each keeps
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
  i64 rows;     // N elements apart in all of them
  int vectors;  // of each row
  T setting;
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
  int saved = 1;  // the states, and the other activations that backward reads
  int stages =
      1;  // a later one starts when the one before is done for all units; backward goes through them in reverse
  int preactivations = 1;
  Preactivation preactivation[most_preactivations] = {};  // the one at place gates and later is biased by extra_bias
  const char* extra_bias = nullptr;                       // b_hn; null: none
  int carries = 0;                    // gradients carried to the step before beside the recurrent product ..
  int carry_state[most_states] = {};  // .. and the state that each belongs to
  bool bounded = true;                // h lies between -1 and 1
  const char* setting = nullptr;      // the name of the cell's number; null: none
};

template <class T>
struct CellKernels {
  const char* name;
  const CellInfo* info;
  void (*forward[CellInfo::most_stages])(const ElementArgs<T>&);
  void (*backward[CellInfo::most_stages])(const ElementArgs<T>&);
};

template <class T>
struct Kernels {
  int panel;   // N
  int vector;  // lanes
  int tile_rows;
  // rows row0 .. row1 of the sorted batch
  void (*forward)(const CellKernels<T>&, const ForwardArgs<T>&, i64 row0, i64 row1);
  void (*backward)(const CellKernels<T>&, const BackwardArgs<T>&, i64 row0, i64 row1);
  void (*input_grad)(const CellKernels<T>&, const InputGradArgs<T>&, i64 row0, i64 row1);
  // y rows from `row` on, of states from row h_row of h on
  void (*outputs)(const OutputArgs<T>&, const T* h, i64 h_panel, i64 h_row, i64 row, i64 sequence, i64 count);
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
