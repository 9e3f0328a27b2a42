#include "dispatch.h"
#include "engine.h"
#include "errors.h"

namespace fastbptt {

namespace {

template <std::size_t n>
std::size_t place(const char* const (&names)[n], const std::string& name, const char* what) {
  std::string known;
  for (std::size_t i = 0; i < n && names[i]; ++i) {
    if (name == names[i]) return i;
    known += (i ? ", " : "") + std::string(names[i]);
  }
  throw ArgumentError({"the optimizer", "has no " + std::string(what) + " '" + name + "'", "one of " + known});
}

}  // namespace

OptimizerState::OptimizerState(const std::string& name) : rule(find_optimizer(name)), info(&optimizer_info(name)) {}

void OptimizerState::set(const std::string& setting, double value) {
  settings[place(info->settings, setting, "setting")] = value;
}

void OptimizerState::attach(const std::string& slot, void* values) { slots[place(info->slots, slot, "slot")] = values; }

void OptimizerState::check() const {
  for (int i = 0; i < info->required; ++i)
    if (!slots[i]) throw ArgumentError({"the optimizer", "lacks its slot '" + std::string(info->slots[i]) + "'"});
}

}  // namespace fastbptt
