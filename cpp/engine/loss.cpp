#include <cmath>

#include "dispatch.h"
#include "engine.h"
#include "engine/arguments.h"
#include "errors.h"

namespace fastbptt {

Loss::Loss(const std::string& name) : index(find_loss(name)), info(&loss_info(name)) {
  for (int i = 0; i < LossInfo::most_parameters; ++i) parameters[i] = info->parameters[i].preset;
}

void Loss::set(const std::string& parameter, double value) {
  std::string known;
  for (int i = 0; i < LossInfo::most_parameters && info->parameters[i].name; ++i) {
    const LossParameter& p = info->parameters[i];
    known += (i ? ", " : "") + std::string(p.name);
    if (parameter != p.name) continue;
    if (!std::isfinite(value) || p.range.excludes(value))
      throw ArgumentError({.argument = p.name,
                           .problem = "is " + number(value),
                           .expected = "a number " + text(p.range),
                           .value = value});
    parameters[i] = value;
    return;
  }
  throw ArgumentError({"loss", "has no parameter '" + parameter + "'", known.empty() ? "none" : "one of " + known});
}

}  // namespace fastbptt
