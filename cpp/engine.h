// The C++ interface of the library, which needs no Python: forward pass, loss, backpropagation through time and
// optimiser step of one recurrent network.
//
// All arrays belong to the caller and are borrowed for the duration of a call, except the parameters, which an Engine
// borrows for its lifetime. Calls on one Engine from several threads are safe: updates are serialised, and readers copy
// the weights when they start. Functions throw ArgumentError (errors.h) for invalid contents of an argument and
// std::bad_alloc for insufficient memory; nothing has changed then.
#ifndef FASTBPTT_ENGINE_H
#define FASTBPTT_ENGINE_H

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace fastbptt {

enum class Dtype { f32, f64, i64 };
// Where the loss is: on the outputs of the last or of all steps, or on the readout of the hidden states' mean or
// maximum over a sequence's steps
enum class Steps { last, all, mean, max };
inline bool pools(Steps steps) { return steps == Steps::mean || steps == Steps::max; }
enum class Reduction { sum, mean, sequence_mean };

// A strided array of up to three dimensions; absent if data is null. Strides are in bytes, of any sign.
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
  double dropout = 0;  // probability of dropping a value between layers in a training pass
  // Standard deviations of Gaussian noise on the inputs x_t, and on the sums x_t W_xh + h_{t-1} W_hh + b_h of a cell
  // that has one. noise_by_setting: they are times sqrt(2 / setting), which is the same for all units if inputs have
  // noise
  double input_noise = 0, recurrent_noise = 0;
  bool noise_by_setting = false;
  double recurrent_dropout = 0;  // .. in what is multiplied by W_hh, the same values at all steps of a sequence
  double zoneout[2] = {0, 0};    // probability that a state, h or c, keeps its value of the step before; else its share
  // The number of the cell, if it has one: one for all units, one for each, or (layers * directions, H). If it is
  // learned it is between 0 and 1, and a parameter, as its logit
  std::vector<double> setting = {};
  bool learn_setting = false;
  bool learn_state = false;  // the initial state is a parameter
  i64 vocabulary = 0;        // number of tokens; 0: the input is numbers
  i64 padding_index = -1;    // the token whose embedding row has no gradient
  bool freeze_embedding = false;
  bool bfloat16 = false;             // round the operands of the recurrent layers' products; float32 only
  int output_bias = -1;              // 1: the readout has one, 0: it has none, -1: as bias
  i64 static_size = 0;               // constants of each sequence, from which its initial states are mapped
  i64 rank = 0;                      // of W_hh = N_hh M_hh, which are the parameters then; 0: W_hh is
  std::vector<i64> read_units = {};  // the columns of the top layer's states that the readout reads; empty: all

  i64 directions() const { return bidirectional ? 2 : 1; }
  i64 width() const { return directions() * hidden; }  // of the top layer
  bool has_output_bias() const { return outputs && (output_bias < 0 ? bias : output_bias != 0); }
  i64 read_width() const { return read_units.empty() ? width() : static_cast<i64>(read_units.size()); }
  i64 output_width() const { return outputs ? outputs : width(); }
  i64 state_rows() const { return layers * directions(); }
  double setting_of(i64 row, i64 unit) const {
    const auto n = static_cast<i64>(setting.size());
    return setting[static_cast<std::size_t>(n == 1 ? 0 : n == hidden ? unit : row * hidden + unit)];
  }
  bool has_zoneout() const { return zoneout[0] > 0 || zoneout[1] > 0; }
  double noise_factor(i64 row, i64 unit) const { return noise_by_setting ? std::sqrt(2 / setting_of(row, unit)) : 1; }
  bool operator==(const Spec&) const = default;
};

struct Parameter {
  std::string name;
  std::vector<i64> shape;
  i64 offset;  // in elements of the flat buffer
};

// The parameters in the order of the flat buffer. Throws std::length_error if the sizes overflow.
std::vector<Parameter> layout(const Spec& spec);
i64 parameter_count(const Spec& spec);

// The weights of a layer direction as PyTorch has them, in the engine's element type, contiguous: matrices with a row
// for each column of W_xh and W_hh, and two biases, which are added (null: none); in that order. A GRU's n has one of
// its own from each
template <class P>
struct TorchWeights {
  P *input, *hidden, *input_bias, *hidden_bias;
};

// States are (layers * directions, B, H), in the order forward and reverse of the first layer, of the second, ..
struct Batch {
  Array x;                               // (B, T, I), f32 or f64; with a vocabulary (B, T), i64
  const i64* lengths = nullptr;          // [B], each 1 .. T; null: all T
  Array initial[CellInfo::most_states];  // h0, c0; absent: learned or zeros, plus static_inputs W_sh, W_sc
  Array static_inputs;                   // (B, static size); may be absent if all of initial are given
  // [B][T]: where true, an episode starts: the state before that step is the learned one or zeros, and no gradient goes
  // past it; null: none. Of one direction, without static_inputs, not pooled, not with Reduction::sequence_mean
  const bool* resets = nullptr;
  bool drop = false;  // apply dropout, with this seed
  std::uint64_t dropout_seed = 0;
  bool noise = false;  // add noise, with this seed: that of a sequence's number, by default its row, ..; with drop it
                       // is that of recurrent dropout, too
  std::uint64_t noise_seed = 0;
  const i64* numbers = nullptr;  // [B]
  i64 first_step = 0;            // .. and of a step's number, which counts from here
  bool check_finite = true;
  // Only for forward and predict:
  // x, and so outputs and gradients of such a shape, are (rows, columns): the first steps of all sequences, the second
  // ones, ..; the lengths do not increase. Then shape[1] is the longest length and strides[0] is from row to row
  bool packed = false;
  const TorchWeights<const void>* weights = nullptr;  // of each layer direction, instead of the engine's; unchecked
  double dropout = -1;                                // below 0: the spec's
  int threads = 0;                                    // at most, of this pass and of its backward pass; 0: as set
};

// Output rows (b, t), or packed ones, which are contiguous; each has contiguous columns
struct RowTarget {
  void* data = nullptr;
  i64 sequence = 0, step = 0;  // elements from sequence to sequence, from step to step
  explicit operator bool() const { return data != nullptr; }
};

// A loss of losses/list.inc, with its parameters: preset, or set within their ranges
struct Loss {
  explicit Loss(const std::string& name);
  void set(const std::string& parameter, double value);
  void set(const std::string& parameter, std::vector<double> values);

  i64 outputs_per_target() const { return list.empty() ? info->outputs : static_cast<i64>(list.size()); }
  i64 targets_of(i64 outputs) const { return outputs / outputs_per_target(); }  // in a row, if they are numbers
  i64 losses_of(i64 outputs) const;                                             // in a row

  int index;
  const LossInfo* info;
  double parameters[LossInfo::most_parameters] = {};
  std::vector<double> list;
};

// A loss of some of the outputs, and what it compares them with
struct OutputBlock {
  const Loss* loss = nullptr;         // borrowed, as arrays are
  Array y = {};                       // numbers: (B, width) or for all steps (B, T, width); classes: i64 (B) or (B, T)
  Array sample_weight = {};           // f64, (B) or for all steps (B, T); absent: ones. Where it is 0, y is not read
  i64 first = 0, width = 0;           // the columns of the outputs; width 0: all
  double weight = 1;                  // of this loss in the sum of all
  const std::string* name = nullptr;  // of the block in messages about y ..
  bool own_weights = false;           // .. and about sample_weight
  bool weighs_steps() const { return sample_weight && sample_weight.shape[1] > 0; }
};

// Some blocks; a single one, the usual case, without an allocation
class OutputBlocks {
 public:
  OutputBlocks() = default;
  OutputBlocks(std::initializer_list<OutputBlock> blocks) {
    for (const OutputBlock& block : blocks) push_back(block);
  }
  void push_back(const OutputBlock& block) {
    if (count_ == 1) several_.push_back(one_);
    count_++ == 0 ? void(one_ = block) : several_.push_back(block);
  }
  std::size_t size() const { return count_; }
  OutputBlock* begin() { return count_ > 1 ? several_.data() : &one_; }
  OutputBlock* end() { return begin() + count_; }
  const OutputBlock* begin() const { return count_ > 1 ? several_.data() : &one_; }
  const OutputBlock* end() const { return begin() + count_; }
  OutputBlock& operator[](std::size_t k) { return begin()[k]; }
  const OutputBlock& operator[](std::size_t k) const { return begin()[k]; }

 private:
  OutputBlock one_;
  std::vector<OutputBlock> several_;  // all of them
  std::size_t count_ = 0;
};

// A term beside the loss: strength times the sum of |w|^power over elements from .. to of the parameters
struct Penalty {
  i64 from, to;
  int power;  // 1 or 2
  double strength;
};

// Terms beside the loss, strength times a mean, over the hidden states of all layer directions at all real steps, or,
// for the change, over all pairs of successive ones in a sequence (with resets, in an episode); and Omega, the mean
// over the batch of the sum over the steps, summed over layer directions
struct ActivityPenalties {
  double l1 = 0, l2 = 0, change = 0;  // of |h|, of h^2, of (h_t - h_{t-1})^2
  double omega = 0;                   // only of cells that have one, in float32 or float64
  double* values = nullptr;           // [4], out
  bool on_states() const { return l1 != 0 || l2 != 0 || change != 0; }
  explicit operator bool() const { return on_states() || omega != 0; }
};

struct Objective {
  Steps steps = Steps::last;
  Reduction reduction = Reduction::mean;  // of each block, over its own weights
  OutputBlocks blocks;                    // one beside the other, all columns of the outputs
  double* losses = nullptr;               // [blocks], out: each block's loss, without its weight; null: not requested
  std::vector<Penalty> penalties = {};    // are in the gradient of the parameters, and not in the loss
  double* penalty_values = nullptr;       // [penalties], out
  ActivityPenalties activity = {};        // as they are: in the gradient
  bool is_plain() const { return blocks.size() == 1 && blocks[0].weight == 1; }
  bool weighs_steps() const {
    for (const OutputBlock& block : blocks)
      if (block.weighs_steps()) return true;
    return false;
  }
};

// Probes of a backward pass, in the order of the caller's steps; null: not requested. D = layers * directions, forward
// and reverse of the first layer first. Arrays are contiguous and zero on entry: elements that no gradient reaches are
// not written.
struct Probes {
  // (D, T): Euclidean norms over the batch of the total dL/dh_t and of the gradients of the pre-activations
  // x W_xh + h W_hh + b; in double, without underflow
  double *hidden = nullptr, *gates = nullptr;
  // the gradients themselves, in the engine's element type: (D, B, T, H), and (D, preactivations, B, T, H)
  void *d_hidden = nullptr, *d_gates = nullptr;
  void* saved = nullptr;    // (D, saved, B, T, H): the states, and the other activations that backward reads
  void* outputs = nullptr;  // (B, T, output width): dL/d(outputs) of a loss at all steps; of a loss on the last ones at
                            // T = 1
  double* norm = nullptr;   // of all gradients together, before clipping; only train_step
  void* final_state[CellInfo::most_states] = {};  // (layers * directions, B, H) each; only train_step
  explicit operator bool() const { return hidden || gates || d_hidden || d_gates || saved || outputs; }
};

// Output arrays of gradients, contiguous, in the engine's element type. x and initial null: not requested.
struct GradientTargets {
  void* parameters = nullptr;                 // flat
  TorchWeights<void>* weights = nullptr;      // instead, of each layer direction
  RowTarget x;                                // (B, T, I)
  void* initial[CellInfo::most_states] = {};  // (layers * directions, B, H) each
};

// Gradients of a custom loss, at which a backward pass starts: outputs or last, not both; final_state: one for each
// state of the cell. Absent ones are zero.
struct OutputGradients {
  Array outputs;                             // (B, T, output width)
  Array last;                                // (B, output width)
  Array hidden;                              // (B, T, width)
  Array final_state[CellInfo::most_states];  // (layers * directions, B, H) each
  bool check_finite = true;
};

// An optimiser of optimizers/list.inc with its settings (0 unless set) and its slots, indexed as in its info. A slot is
// a flat buffer of the caller's, laid out like the parameters, in the engine's element type.
struct OptimizerState {
  // Parameters with settings of their own: lr times lr_factor, and another weight_decay
  struct GroupSettings {
    double lr_factor, weight_decay;
  };
  // Elements from .. to of the flat buffers, which belong to a group
  struct Part {
    i64 from, to;
    int group;
  };

  explicit OptimizerState(const std::string& rule);
  void set(const std::string& setting, double value);
  void attach(const std::string& slot, void* values);
  void divide(std::vector<GroupSettings> into, std::vector<Part> where);  // parts: in order, none overlaps another
  void check() const;                                                     // throws if a required slot is missing

  int rule;
  const OptimizerInfo* info;
  double settings[OptimizerInfo::most_settings] = {};
  void* slots[OptimizerInfo::most_slots] = {};
  std::vector<GroupSettings> groups;
  std::vector<Part> parts;
  int lr = -1, weight_decay = -1;  // places of these settings; where there are groups
  std::atomic<i64> step{0};        // updates made; read at any time
};

// What every update keeps
struct ConstraintSpec {
  enum Sign : std::int8_t { zero = 0, positive = 1, negative = 2, any = 3 };  // 0 has either sign
  // The Euclidean norm of each column of a matrix in the flat buffer
  struct Norm {
    i64 from, rows, columns;
    double most;
  };
  std::vector<Sign> signs;  // that each parameter may have; empty: any
  bool reflect = false;     // a weight that an update takes through zero is reflected there, else it stays at zero
  std::vector<Norm> norms;
};

// Gradient clipping before the update: none (negative), by value or by norm
struct Clip {
  double value = -1;  // maximum magnitude of each element
  double norm = -1;   // maximum norm of the whole gradient
};

// An optimiser step
struct Update {
  OptimizerState* optimizer = nullptr;
  Clip clip;
};

// The results of forward that backward needs: a copy of the weights, the packed inputs, all states.
class Tape {
 public:
  virtual ~Tape() = default;
  virtual i64 batch() const = 0;
  virtual i64 time() const = 0;
  virtual i64 packed_rows() const = 0;  // of a packed batch, else 0
  // in the engine's element type; zero after a sequence's end
  virtual void outputs(void* out) const = 0;                 // (B, T, output width)
  virtual void hidden(const RowTarget& out) const = 0;       // (B, T, width)
  virtual void last(void* out) const = 0;                    // (B, output width), read from the final states
  virtual void final_state(int state, void* out) const = 0;  // (layers * directions, B, H)
};

// Where predictions go, in the engine's element type
struct Predictions {
  Steps steps = Steps::last;                      // of `one`: last, or how it pools
  RowTarget outputs;                              // (B, T, output width), zero after a sequence's end
  void* one = nullptr;                            // (B, output width)
  void* final_state[CellInfo::most_states] = {};  // (layers * directions, B, H)
};                                                // null: not wanted

// What the memory of a training step depends on
struct Size {
  i64 batch = 1, time = 1;
  i64 resets = 0;      // steps at which a sequence starts anew, at most
  bool norms = false;  // probes of norms
  Steps steps = Steps::all;
  bool activity = false;  // penalties on states
};

// Memory and time of the last training pass with a memory budget
struct MemoryReport {
  i64 segments = 0;  // windows of time; 1: nothing was recomputed
  i64 bytes = 0;
  double seconds = 0, recompute_seconds = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual const Spec& spec() const = 0;
  virtual std::unique_ptr<Tape> forward(const Batch& batch) = 0;
  // The forward pass alone: it keeps a few steps at a time. Outputs are the same as those of a tape, to the bit
  virtual void predict(const Batch& batch, const Predictions& out) = 0;
  virtual void backward(Tape& tape, const OutputGradients& from, const GradientTargets& out) = 0;
  virtual double loss(const Batch& batch, const Objective& objective) = 0;
  // memory_budget: bytes that the pass may allocate; states that do not fit are recomputed. 0: no limit
  virtual double loss_and_grad(const Batch& batch, const Objective& objective, const GradientTargets& out,
                               const Probes& probes = {}, i64 memory_budget = 0) = 0;
  // forward, loss, backward, clip, update; returns the loss before the update
  virtual double train_step(const Batch& batch, const Objective& objective, const Update& update,
                            const Probes& probes = {}, i64 memory_budget = 0) = 0;
  // clip, update by a gradient of the caller's, which stays as it is
  virtual void update(const Update& update, const void* gradient, bool check_finite) = 0;
  // From now on updates skip exactly these parameters, in addition to a frozen embedding and the padding row; their
  // gradients are excluded from the check and the norm. Throws for an unknown name.
  virtual void freeze(const std::vector<std::string>& names) = 0;
  // From now on updates keep these, and calls that compute throw for parameters that do not. Gradients of entries that
  // are zero are zero, and excluded from the check and the norm.
  virtual void constrain(ConstraintSpec constraints) = 0;
  virtual void check_constraints() = 0;          // throws for parameters that do not satisfy them
  virtual void project(bool reflect_signs) = 0;  // changes the parameters so that they do
  // Single-step inference: x (B, I), or (B) tokens; state: (layers, B, H) each, in and out; y: (B, output width);
  // resets: [B], where true the step starts from the learned state or zeros, or null
  virtual void step(const Array& x, void* const* state, void* y, bool check_finite, const bool* resets = nullptr) = 0;
  // Bytes that a training step allocates, without arguments and optimiser, whether the machine has them or not, up to
  // 2^60
  virtual i64 memory_needed(const Size& size, i64 memory_budget) = 0;
  virtual i64 minimum_memory(const Size& size) = 0;  // the smallest budget
  virtual MemoryReport report() const = 0;
  virtual void set_params(const void* values) = 0;
  virtual void get_params(void* values) = 0;
};

// params: parameter_count(spec) elements of the given type (f32 or f64), owned by the caller; must outlive the engine.
// Null: each batch brings its weights.
std::unique_ptr<Engine> make_engine(const Spec& spec, Dtype dtype, void* params);

// A training step of one of several networks, as Engine::train_step makes it
struct TrainingStep {
  Engine* engine = nullptr;
  Batch batch = {};
  Objective objective = {};
  Update update = {};
  double loss = 0;                     // out
  i64 together = 1;                    // out: the networks that went through it together
  std::exception_ptr error = nullptr;  // out: null, or what train_step would have thrown: then its engine is unchanged
};

// A step of each of several networks, with the results of a train_step of each, to the bit. Small networks of one
// architecture go through it together, one in each lane of the vectors, where that is faster. Throws if an engine or an
// optimiser is there twice; and CallStopped, after which the steps that were made have been made.
void train_together(std::vector<TrainingStep>& steps);

// How many of so many networks are best trained at a time by one thread, with so many rows and steps in a batch: those
// that go through a step together, or 1
i64 networks_together(Engine& engine, i64 batch, i64 time, i64 count);

// The name compiled into the unit whose kernels ran last, in any engine
const char* proof_of_backend();

}  // namespace fastbptt

#endif
