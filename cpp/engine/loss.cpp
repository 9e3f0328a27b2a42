#include <cmath>
#include <utility>

#include "dispatch.h"
#include "engine.h"
#include "engine/arguments.h"
#include "errors.h"

namespace fastbptt {

Loss::Loss(const std::string& name) : index(find_loss(name)), info(&loss_info(name)) {
  for (int i = 0; i < LossInfo::most_parameters; ++i) parameters[i] = info->parameters[i].preset;
  list.assign(info->list.preset, info->list.preset + info->list.presets);
}

i64 Loss::losses_of(i64 outputs) const {
  switch (info->one_for) {
    case LossInfo::One::output:
      return outputs;
    case LossInfo::One::target:
      return targets_of(outputs);
    default:
      return 1;
  }
}

void Loss::set(const std::string& parameter, std::vector<double> values) {
  const LossList& known = info->list;
  if (!known.name || parameter != known.name)
    throw ArgumentError(
        {"loss", "has no list of numbers '" + parameter + "'", known.name ? std::string(known.name) : "none"});
  const auto refuse = [&](std::size_t i, const std::string& expected) {
    throw ArgumentError({.argument = std::string(known.name) + "[" + std::to_string(i) + "]",
                         .problem = "is " + number(values[i]),
                         .expected = expected,
                         .value = values[i]});
  };
  if (values.empty()) throw ArgumentError({known.name, "is empty", "at least one number " + text(known.range)});
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || known.range.excludes(values[i])) refuse(i, "a number " + text(known.range));
    if (i && values[i] <= values[i - 1]) refuse(i, "a number above the one before it, " + number(values[i - 1]));
  }
  list = std::move(values);
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
