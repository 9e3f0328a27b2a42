#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "errors.h"
#if defined(__x86_64__)
#include "isa/x86.h"
#endif

namespace fastbptt {

#define FASTBPTT_SET(name, description, supported) extern const InstructionSet isa_##name;
#include "isa/list.inc"
#undef FASTBPTT_SET

namespace {

// A set with the tables that it takes from its base; f32: where its own ones stand then
InstructionSet completed(const InstructionSet& set, Kernels<float>& f32) {
  if (!set.base) return set;
  InstructionSet all = *set.base;
  all.name = set.name;
  f32 = *set.f32;
  f32.lanes = set.base->f32->lanes;
  f32.add_noise = set.base->f32->add_noise;
  f32.zone_forward = set.base->f32->zone_forward;
  f32.zone_backward = set.base->f32->zone_backward;
  all.f32 = &f32;
  return all;
}

#define FASTBPTT_SET(name, description, supported)                \
  const InstructionSet* complete_##name() {                       \
    static Kernels<float> f32;                                    \
    static const InstructionSet set = completed(isa_##name, f32); \
    return &set;                                                  \
  }
#include "isa/list.inc"
#undef FASTBPTT_SET

std::vector<Backend> detect() {
  return {
#define FASTBPTT_SET(name, description, supported) {complete_##name(), #name, description, supported},
#define FASTBPTT_ABSENT(name, description) {nullptr, #name, description, false},
#include "isa/list.inc"
#undef FASTBPTT_SET
#undef FASTBPTT_ABSENT
  };
}

const InstructionSet& find(const std::string& name, const std::string& source) {
  std::string known;
  for (const Backend& b : backends()) {
    if (name == b.name) {
      if (b.usable) return *b.set;
      throw ArgumentError({source, "is '" + name + "' (" + b.description + "), which this " +
                                       (b.set ? "machine cannot run" : "build does not contain")});
    }
    known += (known.empty() ? "" : ", ") + std::string(b.name);
  }
  throw ArgumentError({source, "is '" + name + "'", "one of " + known});
}

const InstructionSet* choose() {
  const char* forced = std::getenv("FASTBPTT_ISA");
  if (forced && *forced) return &find(forced, "FASTBPTT_ISA");
  for (const Backend& b : backends())
    if (b.usable) return b.set;
  throw std::logic_error("no instruction set is usable");  // the portable one always is
}

// The index of a name in a registry; what: the name of the argument
template <class Entry>
int place(const Entry* all, int count, const std::string& name, const char* what) {
  for (int i = 0; i < count; ++i)
    if (name == all[i].name) return i;
  std::string known;
  for (int i = 0; i < count; ++i) known += (i ? ", " : "") + std::string(all[i].name);
  throw ArgumentError({what, "is '" + name + "'", "one of " + known});
}

template <class Entry>
std::vector<std::string> names_of(const Entry* all, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.emplace_back(all[i].name);
  return names;
}

std::atomic<const InstructionSet*>& current() {
  static std::atomic<const InstructionSet*> set{choose()};
  return set;
}

}  // namespace

const std::vector<Backend>& backends() {
  static const std::vector<Backend> all = detect();
  return all;
}

const InstructionSet& active() { return *current().load(std::memory_order_acquire); }

void use(const std::string& name) { current().store(&find(name, "backend"), std::memory_order_release); }

std::vector<std::string> bfloat16_names() {
  std::vector<std::string> names;
  for (const Backend& b : backends())
    if (b.set && b.set->f32->pair_rows) names.emplace_back(b.name);
  return names;
}

std::vector<std::string> cell_names() { return names_of(active().cells_f32, active().cells); }

int find_cell(const std::string& name) { return place(active().cells_f32, active().cells, name, "cell"); }

const CellInfo& cell_info(const std::string& name) { return *active().cells_f32[find_cell(name)].info; }

std::vector<std::string> loss_names() { return names_of(active().losses_f32, active().losses); }

int find_loss(const std::string& name) { return place(active().losses_f32, active().losses, name, "loss"); }

const LossInfo& loss_info(const std::string& name) { return *active().losses_f32[find_loss(name)].info; }

std::vector<std::string> optimizer_names() { return names_of(active().optimizers_f32, active().optimizers); }

int find_optimizer(const std::string& name) {
  return place(active().optimizers_f32, active().optimizers, name, "optimizer");
}

const OptimizerInfo& optimizer_info(const std::string& name) {
  return *active().optimizers_f32[find_optimizer(name)].info;
}

}  // namespace fastbptt
