// One recurrent network: forward pass, loss, backpropagation through time and optimiser step, from the parts that an
// instruction set offers. This is the C++ interface of the library; it needs no Python.
//
// All arrays belong to the caller and are only borrowed for the call, but for the parameters, which an Engine borrows
// for its life. Calls on one Engine from several threads are safe: updates come one after another, readers take their
// own copy of the weights when they start. Throws ArgumentError (errors.h) for what the contents of an argument forbid
// and std::bad_alloc where the memory is not there; then nothing has changed.
#ifndef FASTBPTT_ENGINE_H
#define FASTBPTT_ENGINE_H

#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace fastbptt {

enum class Dtype { f32, f64, i64 };
enum class Steps { last, all };
enum class Reduction { sum, mean, sequence_mean };

// A strided array of up to three dimensions; data null: absent. Strides in bytes, any sign.
struct Array {
  const void* data = nullptr;
  Dtype dtype = Dtype::f32;
  i64 shape[3] = {0, 0, 0};
  i64 strides[3] = {0, 0, 0};
  explicit operator bool() const { return data != nullptr; }
};

struct Spec {
  std::string cell;
  i64 inputs = 0, hidden = 0, outputs = 0;  // outputs 0: no readout, the outputs are the hidden states
  bool bias = true;
  i64 layers = 1;
  bool bidirectional = false;
  double dropout = 0;        // share of the values between layers that a training pass drops
  double setting = 0;        // the cell's number, if it has one
  bool learn_state = false;  // the initial state is a parameter
  i64 vocabulary = 0;        // tokens that the input may be; 0: the input is numbers
  i64 padding_index = -1;    // the token whose row of the embedding has no gradient
  bool freeze_embedding = false;
  bool bfloat16 = false;  // operands of the recurrent layers' products are rounded to it; only with float32

  i64 directions() const { return bidirectional ? 2 : 1; }
  i64 width() const { return directions() * hidden; }  // of the top layer
  i64 output_width() const { return outputs ? outputs : width(); }
  i64 state_rows() const { return layers * directions(); }
};

struct Parameter {
  std::string name;
  std::vector<i64> shape;
  i64 offset;  // in elements of the flat buffer
};

// The flat buffer's parts, in order. Throws std::length_error if the sizes overflow.
std::vector<Parameter> layout(const Spec& spec);
i64 parameter_count(const Spec& spec);

// States per layer and direction are (layers * directions, B, H): forward and reverse of the first layer, of the second
// ..
struct Batch {
  Array x;                               // (B, T, I), f32 or f64; with a vocabulary (B, T), i64
  const i64* lengths = nullptr;          // [B], each 1 .. T; null: all T
  Array initial[CellInfo::most_states];  // h0, c0; absent: learned or zeros
  bool drop = false;                     // apply dropout, from this seed
  std::uint64_t dropout_seed = 0;
  bool check_finite = true;
};

// A loss of losses/list.inc, with its parameters: preset, or set within their ranges
struct Loss {
  explicit Loss(const std::string& name);
  void set(const std::string& parameter, double value);

  int index;
  const LossInfo* info;
  double parameters[LossInfo::most_parameters] = {};
};

struct Objective {
  Loss loss{"mse"};
  Steps steps = Steps::last;
  Reduction reduction = Reduction::mean;
  Array y;              // numbers: (B, O) or (B, T, O); classes: i64 (B) or (B, T)
  Array sample_weight;  // (B), f64; absent: ones
};

// Probes of a backward pass. D = layers * directions, forward and reverse of the first layer first;
// steps are the caller's. Contiguous and zero on entry: places that no gradient reaches are left as they are. Null: not
// wanted.
struct Probes {
  // (D, T): over the batch, the Euclidean norm of dL/dh_t, with all that enters at a step, and of the gradients of
  // the gates' sums x W_xh + h W_hh + b; in double, without underflow
  double *hidden = nullptr, *gates = nullptr;
  // the same, number by number, in the engine's element type: (D, B, T, H), and (D, preactivations, B, T, H)
  void *d_hidden = nullptr, *d_gates = nullptr;
  void* saved = nullptr;    // (D, saved, B, T, H): the states, and what backward needs besides
  void* outputs = nullptr;  // (B, T, output width): dL/d(outputs) of a loss at all steps; of a loss on the last ones at
                            // T = 1
  double* norm = nullptr;   // of all gradients together, before clipping; only train_step
  void* final_state[CellInfo::most_states] = {};  // (layers * directions, B, H) each; only train_step
  explicit operator bool() const { return hidden || gates || d_hidden || d_gates || saved || outputs; }
};

// Where gradients go, in the engine's element type, contiguous. x and initial null: not wanted.
struct GradientTargets {
  void* parameters = nullptr;                 // flat
  void* x = nullptr;                          // (B, T, I)
  void* initial[CellInfo::most_states] = {};  // (layers * directions, B, H) each
};

// Gradients of a custom loss, from which a backward pass starts: outputs or last, not both. final_state: as many as the
// cell has states. All absent: zero.
struct OutputGradients {
  Array outputs;                             // (B, T, output width)
  Array last;                                // (B, output width)
  Array final_state[CellInfo::most_states];  // (layers * directions, B, H) each
  bool check_finite = true;
};

// A rule of optimizers/list.inc with its settings (those that are not set are 0) and its slots, by their places in the
// rule's info. A slot is the caller's flat buffer like the parameters, in the engine's element type.
struct OptimizerState {
  explicit OptimizerState(const std::string& rule);
  void set(const std::string& setting, double value);
  void attach(const std::string& slot, void* values);
  void check() const;  // throws if a slot that the rule needs is not there

  int rule;
  const OptimizerInfo* info;
  double settings[OptimizerInfo::most_settings] = {};
  void* slots[OptimizerInfo::most_slots] = {};
  i64 step = 0;  // updates made
};

// What is done to the gradient before the update: nothing (below 0), or one of the two
struct Clip {
  double value = -1;  // largest magnitude of each element
  double norm = -1;   // largest norm of all of it
};

// What a training step does with the gradient
struct Update {
  OptimizerState* optimizer = nullptr;
  Clip clip;
};

// What forward keeps for backward: a copy of the weights, the packed inputs, all states.
class Tape {
 public:
  virtual ~Tape() = default;
  virtual i64 batch() const = 0;
  virtual i64 time() const = 0;
  // in the engine's element type; zero after a sequence's end
  virtual void outputs(void* out) const = 0;                 // (B, T, output width)
  virtual void hidden(void* out) const = 0;                  // (B, T, width)
  virtual void last(void* out) const = 0;                    // (B, output width), read from the final states
  virtual void final_state(int state, void* out) const = 0;  // (layers * directions, B, H)
};

// What the last training pass with a memory budget took
struct MemoryReport {
  i64 segments = 0;  // stretches of time; 1: nothing was computed twice
  i64 bytes = 0;
  double seconds = 0, recompute_seconds = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual const Spec& spec() const = 0;
  virtual std::unique_ptr<Tape> forward(const Batch& batch) = 0;
  virtual void backward(Tape& tape, const OutputGradients& from, const GradientTargets& out) = 0;
  virtual double loss(const Batch& batch, const Objective& objective) = 0;
  // memory_budget: bytes that the pass may take beside the arguments; what does not fit is computed again. 0: no limit
  virtual double loss_and_grad(const Batch& batch, const Objective& objective, const GradientTargets& out,
                               const Probes& probes = {}, i64 memory_budget = 0) = 0;
  // forward, loss, backward, clip, update; returns the loss before the update
  virtual double train_step(const Batch& batch, const Objective& objective, const Update& update,
                            const Probes& probes = {}, i64 memory_budget = 0) = 0;
  virtual void update(OptimizerState& optimizer, const void* gradient, bool check_finite) = 0;
  // From now on updates leave exactly these parameters as they are, beside a frozen embedding and the padding row;
  // their gradients take no part in check and norm. Throws for a name that is none.
  virtual void freeze(const std::vector<std::string>& names) = 0;
  // Single-step inference, on sequences that arrive step by step; x (B, I), or (B) tokens; state: (layers, B, H) each,
  // in and out; y: (B, output width)
  virtual void step(const Array& x, void* const* state, void* y, bool check_finite) = 0;
  // bytes that a training step on such a batch keeps, beside the arguments and the optimiser: linear in time
  virtual i64 memory_needed(i64 batch, i64 time, i64 memory_budget) = 0;
  virtual i64 minimum_memory(i64 batch, i64 time) = 0;  // the smallest budget
  virtual MemoryReport report() const = 0;
  virtual void set_params(const void* values) = 0;
  virtual void get_params(void* values) = 0;
};

// params: parameter_count(spec) elements of the given type (f32 or f64), the caller's, alive as long as the engine.
std::unique_ptr<Engine> make_engine(const Spec& spec, Dtype dtype, void* params);

// The name compiled into the unit whose kernels ran last, on whatever engine
const char* proof_of_backend();

}  // namespace fastbptt

#endif
