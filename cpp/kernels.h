// What an instruction-set unit offers: one table of functions per element type, and the structs they take.
//
// Legend: B sequences, T steps, I inputs, H hidden units, O outputs, R rows = real steps of all sequences.
// Row order: by step, then by sequence, the sequences sorted by falling length; so the sequences that are still running
// at a step are always the first ones, and step t owns the rows first[t] .. first[t] + active[t].
// Panels: a matrix of rows x columns lies as ceil(columns / N) panels of [rows][N], N = the table's panel width; the
// columns beyond the last real one are zero up to a whole vector and undefined after it.
// Ownership: every pointer belongs to the caller; nothing here allocates, throws, blocks or keeps state.
#ifndef FASTBPTT_KERNELS_H
#define FASTBPTT_KERNELS_H

#include <cstdint>

namespace fastbptt {

using i64 = std::int64_t;

enum class Loss : int { bce, cross_entropy, mse };

struct Schedule {
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

// y = h W_hy + b_y for some rows, and, if asked for, loss and dy
template <class T>
struct OutputArgs {
  i64 outputs;        // O
  i64 hidden;         // H
  const T* weights;   // W_hy^T as panels [H panels][..][N], row o at o * N; null: y = h, outputs = hidden
  i64 weights_panel;  // elements from panel to panel
  const T* bias;      // [O]
  T* y;               // [rows][O]
  bool with_loss;     // false: stop here
  Loss loss;
  const T* targets;             // [rows][O], bce and mse
  const std::int32_t* classes;  // [rows], cross_entropy
  const T* factor;              // [B][O] dL / d(loss of that output at one step of sequence b)
  double* loss_sum;  // [B][O] the same losses summed over steps, before the factor; cross_entropy: the first of O
  T* dy;             // [rows][O] out; null: loss only
  T* dh;             // where weights is null and dy is not: dy again as panels [rows][N]
  i64 dh_panel;
};

template <class T>
struct ForwardArgs {
  const Schedule* schedule;
  i64 inputs, hidden;
  const T* x;  // [R][x_stride]
  i64 x_stride;
  const T* weights;  // panels [I + H][N], W_xh above W_hh
  const T* bias;     // [panels * N]
  T* states;         // panels of B + R rows: h_0, then h of row r at B + r
  i64 states_panel;
  const OutputArgs<T>* each_step;  // null: no output during the recursion
  T* last;                         // panels of B rows out: each sequence's last state
  i64 last_panel;
};

// dh of a row = dense row (dy) times W_hy^T + addend + recurrent part
template <class T>
struct BackwardArgs {
  const Schedule* schedule;
  i64 hidden, outputs;
  const T* weights;  // panels [O + H][N]: W_hy^T above W_hh^T
  const T* states;   // as in ForwardArgs
  i64 states_panel;
  const T* dy;  // [R][O], or [B][O] for the last steps only; null: none
  bool dy_each_step;
  const T* dh;  // panels of R (or B) rows; null: none
  i64 dh_panel;
  bool dh_each_step;
  T* dgates;  // panels; row r at r - base
  i64 dgates_panel;
  i64 base;
};

// out[b][t][:] = dgates W_xh^T and the like: rows of panels times a transposed matrix, into the user's array
template <class T>
struct InputGradArgs {
  const Schedule* schedule;
  i64 hidden, columns;
  const T* weights;   // panels over columns: [H][N]
  i64 weights_panel;  // elements from panel to panel
  const T* dgates;
  i64 dgates_panel;
  i64 base;
  const i64* order;  // [B] place of sorted sequence b in the user's batch
  T* out;            // [B][..][columns]
  i64 out_sequence;  // elements from sequence to sequence
};

// C += A^T G over runs of rows; a: rows of a dense matrix or of one panel, g: rows of one panel
template <class T>
struct WeightGradArgs {
  const T* a;
  i64 a_stride;  // elements from row to row; 0 repeats one row
  i64 a_columns;
  const T* g;
  i64 g_columns;  // real columns of this panel
  const Run* runs;
  i64 run_count;
  T* c;      // [a_columns][N]
  bool add;  // false: overwrite
};

template <class T>
struct AdamArgs {
  T* p;
  T* m;
  T* v;
  const T* g;
  T scale;         // of the gradient (clipping)
  T rest1, rest2;  // 1 - beta1, 1 - beta2, each rounded once
  T rate;          // lr / (1 - beta1^t), or Keras' alpha_t
  T root_scale;    // 1 / sqrt(1 - beta2^t), or 1
  T eps;
};

template <class T>
struct Kernels {
  int panel;  // N
  int tile_rows;
  // rows row0 .. row1 of the sorted batch
  void (*forward)(const ForwardArgs<T>&, i64 row0, i64 row1);
  void (*outputs)(const OutputArgs<T>&, const T* h, i64 h_panel, i64 row, i64 sequence, i64 count);
  // steps t1-1 down to t0
  void (*backward)(const BackwardArgs<T>&, i64 t0, i64 t1, i64 row0, i64 row1);
  void (*input_grad)(const InputGradArgs<T>&, i64 t0, i64 t1, i64 row0, i64 row1);
  void (*weight_grad)(const WeightGradArgs<T>&);
  // panel[k][0..N) = w[k][column0 ..), or w[column0 ..][k] if transposed; n columns are real
  void (*pack)(const T* w, i64 ld, bool transposed, i64 rows, i64 n, T* panel);
  // copies values to dst while looking for one that is not finite; false if there is one
  bool (*copy_f32)(const float* src, i64 stride, i64 n, T* dst);
  bool (*copy_f64)(const double* src, i64 stride, i64 n, T* dst);
  bool (*finite)(const T* p, i64 n);
  bool (*zero)(const T* p, i64 n);
  double (*square_sum)(const T* p, i64 n);
  void (*adam)(const AdamArgs<T>&, i64 n);
  void (*tanh)(const T* a, T* out, i64 n);
  // n rounds of independent multiply-adds out of registers, as fast as the processor can: the yardstick of the
  // benchmark. Returns how many operations that were.
  double (*multiply_adds)(i64 n, T* sink);
};

template <class T>
struct CellKernels {
  const char* name;
  Kernels<T> kernels;
};

struct InstructionSet {
  const char* name;  // written by the unit itself
  const CellKernels<float>* f32;
  const CellKernels<double>* f64;
  int cells;
};

}  // namespace fastbptt

#endif
