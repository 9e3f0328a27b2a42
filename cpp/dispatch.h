// The instruction sets: built in, usable on this machine, in use.
#ifndef FASTBPTT_DISPATCH_H
#define FASTBPTT_DISPATCH_H

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace fastbptt {

struct Backend {
  const InstructionSet* set;  // null: not built for this processor family
  const char* name;
  const char* description;
  bool usable;  // built in, and the processor and the operating system support it
};

// All known instruction sets, best first.
const std::vector<Backend>& backends();

// The instruction set in use: FASTBPTT_ISA if set, else the first usable one. Throws std::invalid_argument if
// FASTBPTT_ISA names an unknown or unusable one.
const InstructionSet& active();

// Selects another instruction set. Throws as active() does, and then changes nothing.
void use(const std::string& name);

// Names of the built-in instruction sets with products of bfloat16 pairs
std::vector<std::string> bfloat16_names();

std::vector<std::string> cell_names();

// The index of a cell in each set's tables. Throws std::invalid_argument if it is unknown.
int find_cell(const std::string& name);

const CellInfo& cell_info(const std::string& name);

// The same for losses
std::vector<std::string> loss_names();
int find_loss(const std::string& name);
const LossInfo& loss_info(const std::string& name);

// The same for optimisers
std::vector<std::string> optimizer_names();
int find_optimizer(const std::string& name);
const OptimizerInfo& optimizer_info(const std::string& name);

template <class T>
const Kernels<T>& kernels_of(const InstructionSet& set);
template <>
inline const Kernels<float>& kernels_of<float>(const InstructionSet& set) {
  return *set.f32;
}
template <>
inline const Kernels<double>& kernels_of<double>(const InstructionSet& set) {
  return *set.f64;
}

template <class T>
const CellKernels<T>& cell_of(const InstructionSet& set, int cell);
template <>
inline const CellKernels<float>& cell_of<float>(const InstructionSet& set, int cell) {
  return set.cells_f32[cell];
}
template <>
inline const CellKernels<double>& cell_of<double>(const InstructionSet& set, int cell) {
  return set.cells_f64[cell];
}

template <class T>
const LossKernels<T>& loss_of(const InstructionSet& set, int loss);
template <>
inline const LossKernels<float>& loss_of<float>(const InstructionSet& set, int loss) {
  return set.losses_f32[loss];
}
template <>
inline const LossKernels<double>& loss_of<double>(const InstructionSet& set, int loss) {
  return set.losses_f64[loss];
}

template <class T>
const OptimizerKernels<T>& optimizer_of(const InstructionSet& set, int rule);
template <>
inline const OptimizerKernels<float>& optimizer_of<float>(const InstructionSet& set, int rule) {
  return set.optimizers_f32[rule];
}
template <>
inline const OptimizerKernels<double>& optimizer_of<double>(const InstructionSet& set, int rule) {
  return set.optimizers_f64[rule];
}

}  // namespace fastbptt

#endif
