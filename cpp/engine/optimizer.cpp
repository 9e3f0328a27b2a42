#include <utility>

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

void OptimizerState::divide(std::vector<GroupSettings> into, std::vector<Part> where) {
  i64 end = 0;
  for (const Part& part : where) {
    if (part.from < end || part.to < part.from || part.group < 0 || part.group >= static_cast<int>(into.size()))
      throw ArgumentError({"the optimizer's groups", "overlap", "parts in order, each of one group"});
    end = part.to;
  }
  lr = static_cast<int>(place(info->settings, "lr", "setting"));
  weight_decay = static_cast<int>(place(info->settings, "weight_decay", "setting"));
  groups = std::move(into);
  parts = std::move(where);
}

void OptimizerState::check() const {
  for (int i = 0; i < info->required; ++i)
    if (!slots[i]) throw ArgumentError({"the optimizer", "lacks its slot '" + std::string(info->slots[i]) + "'"});
}

}  // namespace fastbptt
