#include "engine/topology.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "dispatch.h"
#include "engine/arguments.h"
#include "errors.h"

namespace fastbptt {

namespace {

i64 product(i64 a, i64 b) {
  i64 out = 0;
  if (__builtin_mul_overflow(a, b, &out)) throw std::length_error("the network's sizes overflow");
  return out;
}

std::string logit_name(const CellInfo& cell) { return std::string("logit_") + cell.setting; }
void check_noise(const Spec& s, const CellInfo& cell) {
  const auto check = [](const char* name, double value) {
    if (!(value >= 0 && std::isfinite(value)))
      throw ArgumentError({name, "is " + number(value), "a finite number of at least 0"});
  };
  check("input_noise", s.input_noise);
  check("recurrent_noise", s.recurrent_noise);
  if (s.input_noise > 0 && s.vocabulary)
    throw ArgumentError({"input_noise", "is " + number(s.input_noise), "0 for a network that reads tokens"});
  if (s.recurrent_noise > 0 && cell.preactivations > 1)
    throw ArgumentError({"recurrent_noise", "is " + number(s.recurrent_noise), "0 for a cell with several sums"});
  if (s.zoneout[1] > 0 && cell.states < 2)
    throw ArgumentError({"zoneout", "has two numbers", "one for a cell with one state"});
  if (s.has_zoneout() && cell.given > 0)
    throw ArgumentError({"zoneout", "is not 0", "0 for a cell whose h is made from another state"});
  if (!s.noise_by_setting) return;
  const auto positive = [](double a) { return a > 0; };
  if (!cell.setting || s.learn_setting || !std::all_of(s.setting.begin(), s.setting.end(), positive))
    throw ArgumentError({"noise_by_setting", "is true", "false for a cell without a fixed number above 0"});
  if (s.input_noise > 0 && s.setting.size() > 1)
    throw ArgumentError({"noise_by_setting", "is true", "one number of the cell, where inputs have noise"});
}

}  // namespace

std::vector<Parameter> layout(const Spec& s) {
  if (s.inputs < 1 || s.hidden < 1 || s.outputs < 0 || s.layers < 1 || s.vocabulary < 0 || s.static_size < 0)
    throw ArgumentError({"the network", "has a size that is not positive"});
  if (s.padding_index >= s.vocabulary && s.padding_index >= 0)
    throw ArgumentError({"padding_index", "is " + std::to_string(s.padding_index), "less than the vocabulary"});
  for (const auto& [name, share] : {std::pair{"dropout", s.dropout},
                                    {"recurrent_dropout", s.recurrent_dropout},
                                    {"zoneout", s.zoneout[0]},
                                    {"zoneout of c", s.zoneout[1]}})
    if (!(share >= 0 && share < 1))
      throw ArgumentError({name, "is " + std::to_string(share), "at least 0 and below 1"});
  if (s.rank < 0 || s.rank > s.hidden)
    throw ArgumentError({"rank", "is " + std::to_string(s.rank), "at most the hidden size"});
  if (!s.outputs && (s.output_bias >= 0 || !s.read_units.empty()))
    throw ArgumentError({"output_bias or read_units", "is given", "none for a network without a readout"});
  for (std::size_t i = 0; i < s.read_units.size(); ++i)
    if (s.read_units[i] < (i ? s.read_units[i - 1] + 1 : 0) || s.read_units[i] >= s.width())
      throw ArgumentError({"read_units", "holds " + std::to_string(s.read_units[i]),
                           "increasing numbers from 0 to " + std::to_string(s.width() - 1)});
  const CellInfo& cell = cell_info(s.cell);
  const auto numbers = static_cast<i64>(s.setting.size());
  if (cell.setting ? numbers != 1 && numbers != s.hidden && numbers != product(s.state_rows(), s.hidden) : numbers > 0)
    throw ArgumentError({"setting", "has " + std::to_string(numbers) + " numbers",
                         cell.setting ? "one, or one for each unit" : "none: the cell has no number"});
  if (s.learn_setting && !cell.setting)
    throw ArgumentError({"learn_setting", "is true", "false: the cell has no number"});
  check_noise(s, cell);
  std::vector<Parameter> all;
  i64 offset = 0;
  const auto add = [&](const std::string& name, std::vector<i64> shape) {
    i64 size = 1;
    for (const i64 n : shape) size = product(size, n);
    all.push_back({name, std::move(shape), offset});
    if (__builtin_add_overflow(offset, size, &offset)) throw std::length_error("the network's sizes overflow");
  };
  const i64 columns = product(cell.gates, s.hidden), width = product(s.directions(), s.hidden);
  for (i64 layer = 0; layer < s.layers; ++layer)
    for (i64 direction = 0; direction < s.directions(); ++direction) {
      const std::string suffix = (layer ? "_l" + std::to_string(layer) : std::string()) + (direction ? "_reverse" : "");
      add("W_xh" + suffix, {layer ? width : s.inputs, columns});
      if (s.rank) {
        add("N_hh" + suffix, {s.hidden, s.rank});
        add("M_hh" + suffix, {s.rank, columns});
      } else {
        add("W_hh" + suffix, {s.hidden, columns});
      }
      if (s.bias) add("b_h" + suffix, {columns});
      if (s.bias && cell.extra_bias) add(cell.extra_bias + suffix, {s.hidden});
      if (s.learn_setting) add(logit_name(cell) + suffix, {s.hidden});
    }
  for (int state = cell.given; s.learn_state && state < cell.states; ++state)
    add(cell.state_names[state] + std::string("0"), {s.state_rows(), s.hidden});
  for (int state = cell.given; s.static_size && state < cell.states; ++state)
    add("W_s" + std::string(cell.state_names[state]), {s.static_size, product(s.state_rows(), s.hidden)});
  if (s.outputs) {
    add("W_hy", {s.read_units.empty() ? width : s.read_width(), s.outputs});
    if (s.has_output_bias()) add("b_y", {s.outputs});
  }
  if (s.vocabulary) add("E", {s.vocabulary, s.inputs});
  return all;
}

i64 parameter_count(const Spec& s) {
  const Parameter last = layout(s).back();
  i64 size = 1;
  for (const i64 n : last.shape) size = product(size, n);
  return last.offset + size;
}

std::vector<Range> trained_ranges(const Spec& s, const std::vector<std::string>& frozen) {
  const std::vector<Parameter> all = layout(s);
  for (const std::string& name : frozen)
    if (std::none_of(all.begin(), all.end(), [&](const Parameter& p) { return p.name == name; }))
      throw ArgumentError({"'" + name + "'", "is not a parameter"});
  std::vector<Range> ranges;
  const auto add = [&](i64 from, i64 to) {
    if (from == to) return;
    if (!ranges.empty() && ranges.back().to == from)
      ranges.back().to = to;
    else
      ranges.push_back({from, to});
  };
  const i64 count = parameter_count(s);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Parameter& p = all[i];
    const i64 end = i + 1 < all.size() ? all[i + 1].offset : count;
    const bool embedding = s.vocabulary && i + 1 == all.size();
    if (embedding && s.freeze_embedding) continue;
    if (std::find(frozen.begin(), frozen.end(), p.name) != frozen.end()) continue;
    const i64 padding = embedding && s.padding_index >= 0 ? p.offset + s.padding_index * s.inputs : end;
    add(p.offset, padding);
    add(std::min(padding + s.inputs, end), end);
  }
  return ranges;
}

Topology::Topology(const Spec& s)
    : spec(s), cell(find_cell(s.cell)), info(cell_info(s.cell)), count(parameter_count(s)), checked(count) {
  for (i64 layer = 0; layer < s.layers; ++layer)
    for (i64 d = 0; d < D(); ++d) layer_directions.push_back({layer, d, layer ? s.width() : s.inputs});
  auto dir = layer_directions.begin();
  for (const Parameter& p : layout(s)) {
    const auto is = [&p](const std::string& name) { return p.name == name || p.name.rfind(name + "_", 0) == 0; };
    if (is("W_xh")) dir->W_xh = p.offset;
    if (is("b_h")) dir->b_h = p.offset;
    if (info.extra_bias && is(info.extra_bias)) dir->b_extra = p.offset;
    if (is("W_hh")) dir->W_hh = p.offset;
    if (s.learn_setting && is(logit_name(info))) dir->logit = p.offset;
    if (is("N_hh")) dir->N_hh = p.offset;
    if (is("M_hh")) dir->M_hh = p.offset;
    const bool last = is(s.learn_setting   ? logit_name(info)
                         : !s.bias         ? (s.rank ? "M_hh" : "W_hh")
                         : info.extra_bias ? info.extra_bias
                                           : "b_h");
    if (last) ++dir;
    for (int state = 0; state < info.states; ++state)
      if (p.name == info.state_names[state] + std::string("0")) initial[state] = p.offset;
    for (int state = 0; state < info.states; ++state)
      if (p.name == "W_s" + std::string(info.state_names[state])) static_map[state] = p.offset;
    if (p.name == "W_hy") W_hy = p.offset;
    if (p.name == "b_y") b_y = p.offset;
    if (p.name == "E") embedding = p.offset;
  }
  if (s.vocabulary) checked = embedding;
  if (!s.read_units.empty()) read_row.assign(static_cast<std::size_t>(s.width()), -1);
  for (std::size_t i = 0; i < s.read_units.size(); ++i)
    read_row[static_cast<std::size_t>(s.read_units[i])] = static_cast<i64>(i);
  for (int j = 0; j < info.preactivations; ++j) {
    with_input += info.preactivation[j].input;
    with_hidden += info.preactivation[j].hidden != Preactivation::none;
  }
}

void Topology::check_weights(const Batch& batch) const {
  if (batch.weights && (spec.outputs || spec.vocabulary || spec.learn_state || spec.static_size || spec.bfloat16))
    throw ArgumentError({"weights", "are given", "none for a network that has more than its recurrent layers"});
  if (batch.packed && (batch.resets != nullptr || spec.vocabulary))
    throw ArgumentError({"a packed batch", "has resets or tokens", "neither"});
}

void Topology::check_initial(const Batch& batch) const {
  if (spec.static_size && batch.resets != nullptr)
    throw ArgumentError({"resets", "are given", "none for a network with static inputs, which belong to a sequence"});
  for (int s = info.given; spec.static_size && !batch.static_inputs && s < info.states; ++s)
    if (!batch.initial[s])
      throw ArgumentError({"static", "is missing", "the constants of each sequence, or all initial states"});
}

}  // namespace fastbptt
