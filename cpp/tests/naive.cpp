#include "naive.h"

#include <algorithm>
#include <limits>
#include <random>
#include <stdexcept>

#include "dispatch.h"

namespace naive {

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = [] {
    std::vector<Kind> found{{"rnn", 1, 1, false}, {"relu", 1, 1, false},       {"leaky", 1, 1, false},
                            {"gru", 3, 1, true},  {"gru_before", 3, 1, false}, {"lstm", 4, 2, false}};
    for (const char* rates : {"softplus", "sigmoid"}) found.push_back({std::string("rnn_") + rates, 1, 1, false});
    for (const char* rates : {"relu", "softplus", "sigmoid"})
      found.push_back({std::string("leaky_rate_") + rates, 1, 1, false});
    for (const char* rates : {"tanh", "relu", "softplus", "sigmoid"})
      found.push_back({std::string("leaky_preactivation_") + rates, 1, 2, false, 1});
    return found;
  }();
  return all;
}

const std::vector<Kind>& structures() {
  static const std::vector<Kind> all = [] {
    std::vector<Kind> found;
    for (const char* cell : {"rnn", "relu", "leaky", "leaky_preactivation_softplus", "gru", "gru_before", "lstm"})
      found.push_back(kind(cell));
    return found;
  }();
  return all;
}

std::vector<std::string> structure_names() {
  std::vector<std::string> names;
  for (const Kind& kind : structures()) names.push_back(kind.name);
  return names;
}

void give_setting(Spec& s, double number) {
  s.setting.clear();
  if (!fastbptt::cell_info(s.cell).setting) return;
  for (i64 j = 0; j < s.hidden; ++j) s.setting.push_back(number * (1 - 0.5 * double(j % 5) / 5));
  s.learn_setting = s.hidden % 2;
}

const Kind& kind(const std::string& cell) {
  for (const Kind& k : kinds())
    if (k.name == cell) return k;
  throw std::invalid_argument("these tests do not know the cell " + cell);
}

template <class R>
Vector<R>* rates(Graph<R>& g, const std::string& cell, Vector<R>* a) {
  const auto ends = [&](const std::string& end) {
    return cell.size() >= end.size() && cell.compare(cell.size() - end.size(), end.size(), end) == 0;
  };
  return ends("relu") ? g.relu(a) : ends("softplus") ? g.softplus(a) : ends("sigmoid") ? g.sigmoid(a) : g.tanh(a);
}

template <class R>
std::vector<Vector<R>*> step(Graph<R>& g, const std::string& cell, Vector<R>* setting, const std::vector<Vector<R>*>& a,
                             const std::vector<Vector<R>*>& before, const Recur<R>& recur) {
  using V = Vector<R>*;
  const V h = before[0];
  const auto gate = [&](i64 k) { return g.sum(a[at(k)], recur(h, k)); };
  const auto between = [&](V z, V n) { return g.sum(g.times(g.one_minus(z), n), g.times(z, h)); };
  const auto leaky = [&](V state, V fresh) {
    return g.sum(g.times(g.one_minus(setting), state), g.times(setting, fresh));
  };
  if (cell.rfind("leaky_preactivation", 0) == 0) {
    const V v = leaky(before[1], gate(0));
    return {rates(g, cell, v), v};
  }
  if (cell.rfind("leaky", 0) == 0) return {leaky(h, rates(g, cell, gate(0)))};
  if (cell == "relu" || cell.rfind("rnn", 0) == 0) return {rates(g, cell, gate(0))};
  if (cell == "gru") {
    const V r = g.sigmoid(gate(0)), z = g.sigmoid(gate(1));
    return {between(z, g.tanh(g.sum(a[2], g.times(r, recur(h, 2)))))};
  }
  if (cell == "gru_before") {
    const V r = g.sigmoid(gate(0)), z = g.sigmoid(gate(1));
    return {between(z, g.tanh(g.sum(a[2], recur(g.times(r, h), 2))))};
  }
  if (cell == "lstm") {
    const V i = g.sigmoid(gate(0)), f = g.sigmoid(gate(1)), n = g.tanh(gate(2)), o = g.sigmoid(gate(3));
    const V c = g.sum(g.times(f, before[1]), g.times(i, n));
    return {g.times(o, g.tanh(c)), c};
  }
  throw std::invalid_argument("these tests do not know the cell " + cell);
}

Places::Places(const Spec& s) {
  const Kind& cell = kind(s.cell);
  const auto take = [this](bool there, i64 n) {
    const i64 place = there ? count : -1;
    count += there ? n : 0;
    return place;
  };
  for (i64 layer = 0; layer < s.layers; ++layer)
    for (i64 d = 0; d < s.directions(); ++d) {
      Direction p{};
      p.inputs = layer ? s.width() : s.inputs;
      p.W_xh = take(true, p.inputs * cell.gates * s.hidden);
      p.W_hh = take(s.rank == 0, s.hidden * cell.gates * s.hidden);
      p.N_hh = take(s.rank > 0, s.hidden * s.rank);
      p.M_hh = take(s.rank > 0, s.rank * cell.gates * s.hidden);
      p.b_h = take(s.bias, cell.gates * s.hidden);
      p.b_hn = take(s.bias && cell.extra_bias, s.hidden);
      p.logit = take(s.learn_setting, s.hidden);
      directions.push_back(p);
    }
  for (i64 k = cell.given; k < cell.states; ++k) initial[k] = take(s.learn_state, s.state_rows() * s.hidden);
  for (i64 k = cell.given; k < cell.states; ++k)
    static_map[k] = take(s.static_size > 0, s.static_size * s.state_rows() * s.hidden);
  W_hy = take(s.outputs > 0, s.read_width() * s.outputs);
  b_y = take(s.has_output_bias(), s.outputs);
  E = take(s.vocabulary > 0, s.vocabulary * s.inputs);
}

namespace {

std::uint64_t mix(std::uint64_t z) {
  z ^= z >> 30;
  z *= 0xBF58476D1CE4E5B9;
  z ^= z >> 27;
  z *= 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

constexpr std::uint64_t golden = 0x9E3779B97F4A7C15;

// What a row of some stream is drawn from, for one step of one sequence
std::uint64_t row_key(std::uint64_t seed, i64 stream, i64 b, i64 t) {
  return mix(seed + golden * (1 + std::uint64_t(stream) + (std::uint64_t(t) << 16) + (std::uint64_t(b) << 40)));
}

// What a row of n numbers is multiplied with: 0, or what makes up for these
template <class R>
std::vector<R> dropout_factors(double share, std::uint64_t key, i64 n) {
  std::vector<R> factors;
  for (i64 j = 0; j < n; ++j) {
    const std::uint64_t u = mix(key + golden * std::uint64_t(1 + j)) >> 32;
    factors.push_back(double(u) >= std::floor(share * 4294967296.0) ? R(1 / (1 - share)) : R(0));
  }
  return factors;
}

// 32 bits
std::uint32_t noise_bits(std::uint64_t key, i64 j) {
  std::uint32_t x = std::uint32_t(key) + std::uint32_t(j) * 0x9E3779B9;
  x = (x ^ (x >> 17)) * 0xed5ad4bb;
  x = ((x ^ (x >> 11)) + std::uint32_t(key >> 32)) * 0xac4c1b51;
  x = (x ^ (x >> 15)) * 0x31848bab;
  return x ^ (x >> 14);
}

// A uniform number of 24 bits, and its sign
double noise_word(std::uint64_t key, i64 j) {
  const std::uint32_t x = noise_bits(key, j);
  return double(float(std::int32_t(j % 2 ? x : x | 1)));
}

// How much of a state zoneout keeps, of n units; key 0: the expectation
template <class R>
std::vector<R> kept(double share, std::uint64_t key, i64 state, i64 n) {
  std::vector<R> row;
  for (i64 j = 0; j < n; ++j) {
    const double u = double(noise_bits(key, j + (state << 28)) >> 8) * 0x1p-24;
    row.push_back(key == 0 ? R(share) : R(u < double(R(share))));
  }
  return row;
}

i64 direction_stream(i64 layer, i64 direction) { return 2 * layer + direction; }

// Gaussian noise for a row of n numbers; scale(j): the standard deviation of each
template <class R, class F>
std::vector<R> noise(std::uint64_t key, i64 n, const F& scale) {
  std::vector<R> row;
  for (i64 j = 0; j < n; ++j) {
    const double u = std::fabs(noise_word(key, j - j % 2)) * 0x1p-31, sign = noise_word(key, j - j % 2 + 1);
    const double angle = (std::fabs(sign) * 0x1p-30 - 1) * std::acos(-1.0) / 2, radius = std::sqrt(-2 * std::log(u));
    row.push_back(R(scale(j) * radius * (j % 2 ? std::sin(angle) : std::copysign(std::cos(angle), sign))));
  }
  return row;
}

}  // namespace

const std::vector<std::string>& losses() {
  static const std::vector<std::string> all{"bce", "cross_entropy", "mse"};
  return all;
}

template <class R>
double step_loss(const std::string& loss, const std::vector<R>& z, const R* y, i64 target, double factor, R* dz) {
  double value = 0;
  const R top = *std::max_element(z.begin(), z.end());
  R sum = 0;
  for (const R v : z) sum += std::exp(v - top);
  for (std::size_t o = 0; o < z.size(); ++o) {
    const R v = z[o];
    if (loss == "cross_entropy") {
      dz[o] = R(factor) * (std::exp(v - top) / sum - R(i64(o) == target));
    } else if (loss == "bce") {
      value += double(std::max(v, R(0)) - v * y[o] + std::log1p(std::exp(-std::fabs(v))));
      dz[o] = R(factor) * (R(1) / (R(1) + std::exp(-v)) - y[o]);
    } else if (loss == "mse") {
      value += double((v - y[o]) * (v - y[o]));
      dz[o] = R(factor) * 2 * (v - y[o]);
    } else {
      throw std::invalid_argument("these tests do not know the loss " + loss);
    }
  }
  if (loss == "cross_entropy") value = double(std::log(sum) + top - z[at(target)]);
  return factor * value;
}

namespace {

// The weight of each sequence's steps in the loss
std::vector<double> loss_factors(const NetworkCase& c, const Data& given) {
  std::vector<double> factors;
  double total = 0;
  for (i64 b = 0; b < c.B; ++b) {
    const double weight = c.weighted ? given.sample_weight[at(b)] : 1;
    const double steps = c.steps == Steps::all ? double(given.lengths[at(b)]) : 1;
    total += c.reduction == Reduction::mean ? weight * steps : weight;
    factors.push_back(c.reduction == Reduction::sequence_mean ? weight / steps : weight);
  }
  if (c.loss != "cross_entropy") total *= double(c.net.output_width());
  if (c.reduction != Reduction::sum)
    for (double& f : factors) f /= total;
  return factors;
}

// One sequence: its outputs into out, and its share of the gradients
template <class R>
void sequence(const NetworkCase& c, const Data& given, i64 b, const Places& places, Vector<R>& params, Result<R>& out) {
  using V = Vector<R>*;
  const Spec& s = c.net;
  const i64 H = s.hidden, I = s.inputs, D = s.directions(), L = s.layers, width = s.output_width();
  const i64 length = given.lengths[at(b)], GH = kind(s.cell).gates * H, states = kind(s.cell).states;
  Graph<R> g;
  // Writes to the places of sequence b (and step t) in an array
  const auto show = [](std::vector<R>& array, i64 place, const std::vector<R>& values) {
    std::copy(values.begin(), values.end(), array.begin() + place * i64(values.size()));
  };
  const auto add = [](V v, const std::vector<double>& array, i64 place) {
    for (i64 j = 0; j < v->size() && !array.empty(); ++j) v->d[at(j)] += R(array[at(place * v->size() + j)]);
  };

  std::vector<V> below;
  for (i64 t = 0; t < length; ++t) {
    if (!s.vocabulary) {
      const auto from = given.x.begin() + (b * c.T + t) * I;
      below.push_back(g.leaf(cast<R>({from, from + I})));
      continue;
    }
    const i64 token = given.tokens[at(b * c.T + t)], from = places.E + token * I;
    const bool fixed = s.freeze_embedding || token == s.padding_index;
    below.push_back(fixed ? g.leaf({params.a.begin() + from, params.a.begin() + from + I}) : g.part(&params, from, I));
  }
  const std::vector<V> inputs = below;
  constexpr i64 of_inputs = 1 << 14, of_sums = 1 << 15, of_masks = 3 << 14, of_zones = 5 << 13;  // streams
  for (i64 t = 0; t < length && c.drop && s.input_noise > 0; ++t) {
    const std::uint64_t key = row_key(given.noise_seed, of_inputs, b, t);
    below[at(t)] =
        g.sum(below[at(t)], g.leaf(noise<R>(key, I, [&](i64) { return s.noise_factor(0, 0) * s.input_noise; })));
  }

  struct Step {
    i64 direction, t;
    std::vector<V> gates, states;
  };
  std::vector<Step> steps;
  std::vector<std::vector<V>> first, final;  // states by direction
  std::vector<V> hidden;
  for (i64 layer = 0; layer < L; ++layer) {
    std::vector<V> shown[2];
    for (i64 d = 0; d < D; ++d) {
      const i64 direction = layer * D + d;
      const Places::Direction& p = places.directions[at(direction)];
      const i64 given_state = kind(s.cell).given;
      std::vector<V> now(at(given_state), nullptr);
      for (i64 k = given_state; k < states; ++k) {
        const auto from = given.initial[k].begin() + (direction * c.B + b) * H;
        if (c.initial) {
          now.push_back(g.leaf(cast<R>({from, from + H})));
          continue;
        }
        now.push_back(s.learn_state ? g.part(&params, places.initial[k] + direction * H, H) : g.zeros(H));
        const auto constants = given.static_inputs.begin() + b * s.static_size;
        const V row = g.leaf(cast<R>({constants, constants + s.static_size}));
        now.back() = g.sum(now.back(), g.product(row, &params, places.static_map[k] + direction * H, D * L * H, H));
      }
      if (given_state) now[0] = rates(g, s.cell, now[1]);
      V setting = g.zeros(s.setting.empty() ? 0 : H);
      for (i64 j = 0; j < setting->size(); ++j) setting->a[at(j)] = R(s.setting_of(direction, j));
      if (s.learn_setting) setting = g.sigmoid(g.part(&params, p.logit, H));
      first.push_back(now);
      shown[d].resize(at(length));
      const bool masked = c.drop && s.recurrent_dropout > 0;
      const std::uint64_t mask_key = row_key(given.noise_seed, of_masks + direction_stream(layer, d), b, 0);
      const V mask = masked ? g.leaf(dropout_factors<R>(s.recurrent_dropout, mask_key, H)) : nullptr;
      for (i64 k = 0; k < length; ++k) {
        const i64 t = d ? length - 1 - k : k;
        std::vector<V> a;
        for (i64 gate = 0; gate < kind(s.cell).gates; ++gate) {
          a.push_back(g.product(below[at(t)], &params, p.W_xh + gate * H, GH, H));
          if (s.bias) a.back() = g.sum(a.back(), g.part(&params, p.b_h + gate * H, H));
          const std::uint64_t key = row_key(given.noise_seed, of_sums + direction_stream(layer, d), b, t);
          if (c.drop && s.recurrent_noise > 0)
            a.back() = g.sum(a.back(), g.leaf(noise<R>(key, H, [&](i64 unit) {
              return s.noise_factor(direction, unit) * s.recurrent_noise;
            })));
        }
        const std::vector<V> before = now;
        now = step<R>(g, s.cell, setting, a, before, [&](V own, i64 gate) {
          const V h = mask ? g.times(own, mask) : own;
          const V y = s.rank
                          ? g.product(g.product(h, &params, p.N_hh, s.rank, s.rank), &params, p.M_hh + gate * H, GH, H)
                          : g.product(h, &params, p.W_hh + gate * H, GH, H);
          return p.b_hn >= 0 && gate == 2 ? g.sum(y, g.part(&params, p.b_hn, H)) : y;
        });
        const std::uint64_t zones = row_key(given.noise_seed, of_zones + direction_stream(layer, d), b, t);
        for (i64 k2 = 0; k2 < states && s.has_zoneout(); ++k2) {
          const std::vector<R> D = kept<R>(s.zoneout[k2], c.drop ? zones : 0, k2, H);
          const V factor = g.leaf(D);
          now[at(k2)] = g.sum(g.times(before[at(k2)], factor), g.times(now[at(k2)], g.one_minus(factor)));
        }
        shown[d][at(t)] = now[0];
        steps.push_back({direction, t, a, now});
      }
      final.push_back(now);
      for (i64 k = 0; k < states; ++k) show(out.final[k], direction * c.B + b, now[at(k)]->a);
    }
    hidden.clear();
    for (i64 t = 0; t < length; ++t)
      hidden.push_back(D == 2 ? g.joined(shown[0][at(t)], shown[1][at(t)]) : shown[0][at(t)]);
    below = hidden;
    for (i64 t = 0; t < length && c.drop && layer < L - 1; ++t)
      below[at(t)] = g.times(
          below[at(t)], g.leaf(dropout_factors<R>(s.dropout, row_key(given.dropout_seed, layer, b, t), s.width())));
  }

  const auto readout = [&](V h) {
    if (!s.outputs) return g.scaled(h, 1);
    const V read = s.read_units.empty() ? h : g.picked(h, s.read_units);
    const V y = g.product(read, &params, places.W_hy, s.outputs, s.outputs);
    return s.has_output_bias() ? g.sum(y, g.part(&params, places.b_y, s.outputs)) : y;
  };
  std::vector<V> outputs;
  for (i64 t = 0; t < length; ++t) {
    outputs.push_back(readout(hidden[at(t)]));
    show(out.hidden, b * c.T + t, hidden[at(t)]->a);
    show(out.outputs, b * c.T + t, outputs.back()->a);
  }
  const V top = final[at((L - 1) * D)][0];
  const V last = readout(D == 2 ? g.joined(top, final.back()[0]) : top);
  show(out.last, b, last->a);

  if (!given.d_outputs.empty() || !given.d_last.empty() || !given.d_hidden.empty() || !given.d_final[0].empty() ||
      !given.d_final[1].empty()) {
    for (i64 t = 0; t < length; ++t) add(hidden[at(t)], given.d_hidden, b * c.T + t);
    for (i64 t = 0; t < length; ++t) add(outputs[at(t)], given.d_outputs, b * c.T + t);
    add(last, given.d_last, b);
    for (i64 direction = 0; direction < L * D; ++direction)
      for (i64 k = 0; k < states; ++k) add(final[at(direction)][at(k)], given.d_final[k], direction * c.B + b);
  } else {
    const double factor = loss_factors(c, given)[at(b)];
    const bool all = c.steps == Steps::all;
    for (i64 t = 0; t < (all ? length : 1); ++t) {
      const i64 place = all ? b * c.T + t : b;
      const V z = all ? outputs[at(t)] : last;
      const std::vector<R> y = cast<R>({given.y.begin() + place * width, given.y.begin() + (place + 1) * width});
      out.loss += step_loss(c.loss, z->a, y.data(), given.classes[at(place)], factor, z->d.data());
      show(all ? out.d_outputs : out.d_last, place, z->d);
    }
  }
  g.backward();
  for (const Step& step : steps) {
    const auto place = [&](i64 which, i64 of) { return ((step.direction * of + which) * c.B + b) * c.T + step.t; };
    const i64 gates = kind(s.cell).gates;
    show(out.d_hidden, place(0, 1), step.states[at(kind(s.cell).given)]->d);
    for (i64 gate = 0; gate < gates; ++gate) show(out.d_gates, place(gate, gates), step.gates[at(gate)]->d);
    for (i64 k = 0; k < states; ++k) show(out.states, place(k, states), step.states[at(k)]->a);
  }
  for (i64 t = 0; t < length && !s.vocabulary; ++t) show(out.x, b * c.T + t, inputs[at(t)]->d);
  for (i64 direction = 0; direction < L * D; ++direction)
    for (i64 k = kind(s.cell).given; k < states; ++k)
      show(out.initial[k], direction * c.B + b, first[at(direction)][at(k)]->d);
  out.kink = std::min(out.kink, g.kink);
}

}  // namespace

template <class R>
Result<R> network(const NetworkCase& c, const Data& given) {
  const Spec& s = c.net;
  const Places places(s);
  const auto zeros = [&](i64 rows, i64 columns) { return std::vector<R>(at(rows * columns), R(0)); };
  Result<R> out;
  out.outputs = out.d_outputs = zeros(c.B * c.T, s.output_width());
  out.hidden = zeros(c.B * c.T, s.width());
  out.last = out.d_last = zeros(c.B, s.output_width());
  const i64 rows = s.state_rows() * c.B * c.T;
  out.d_hidden = zeros(rows, s.hidden);
  out.d_gates = zeros(rows * kind(s.cell).gates, s.hidden);
  out.states = zeros(rows * kind(s.cell).states, s.hidden);
  if (!s.vocabulary) out.x = zeros(c.B * c.T, s.inputs);
  for (i64 k = 0; k < kind(s.cell).states; ++k) out.final[k] = out.initial[k] = zeros(s.state_rows() * c.B, s.hidden);
  Vector<R> params{cast<R>(given.params), zeros(1, places.count)};
  for (i64 b = 0; b < c.B; ++b) sequence(c, given, b, places, params, out);
  out.params = params.d;
  return out;
}

Data make_data(const NetworkCase& c, i64 parameters, i64 states) {
  std::mt19937 random(c.seed);
  const auto uniform = [&](double top) {
    return double(float(std::uniform_real_distribution<double>(-top, top)(random)));
  };
  const auto below = [&](i64 n) { return i64(random() % std::uint64_t(n)); };
  const auto numbers = [&](i64 n, double top) {
    std::vector<double> a;
    for (i64 i = 0; i < n; ++i) a.push_back(uniform(top));
    return a;
  };
  const Spec& s = c.net;
  Data d;
  // units that saturate lose digits in 1 - h^2, whoever computes it: keep clear of that
  d.params = numbers(parameters, 1 / std::sqrt(double(std::max(s.inputs, s.hidden))));
  for (i64 i = s.vocabulary * s.inputs; i > 0; --i) d.params[at(parameters - i)] = uniform(1.7);
  for (i64 b = 0; b < c.B; ++b) d.lengths.push_back(c.lengths ? 1 + below(c.T) : c.T);
  for (i64 b = 0; b < c.B; ++b)
    for (i64 t = 0; t < c.T; ++t) {
      const bool real = t < d.lengths[at(b)];
      for (i64 i = 0; i < s.inputs && !s.vocabulary; ++i) d.x.push_back(real ? uniform(1.7) : NAN);
      if (s.vocabulary) d.tokens.push_back(real ? below(s.vocabulary) : s.vocabulary);
    }
  for (i64 k = 0; k < states && c.initial; ++k) d.initial[k] = numbers(s.state_rows() * c.B * s.hidden, 0.9);
  d.static_inputs = numbers(c.B * s.static_size, 1.7);
  const i64 outputs = s.output_width(), steps = c.steps == Steps::all ? c.T : 1;
  for (i64 b = 0; b < c.B; ++b)
    for (i64 t = 0; t < steps; ++t) {
      const bool real = t < d.lengths[at(b)];
      d.classes.push_back(real ? below(outputs) : -1);
      for (i64 o = 0; o < outputs; ++o) d.y.push_back(real ? std::fabs(uniform(1)) : NAN);
    }
  for (i64 b = 0; b < c.B; ++b) d.sample_weight.push_back(b % 3 == 1 ? 0 : std::fabs(uniform(2)));
  d.dropout_seed = (std::uint64_t(random()) << 32) + random();
  d.noise_seed = (std::uint64_t(random()) << 32) + random();
  return d;
}

Data make_data(const NetworkCase& c) { return make_data(c, Places(c.net).count, kind(c.net.cell).states); }

template std::vector<Vector<double>*> step(Graph<double>&, const std::string&, Vector<double>*,
                                           const std::vector<Vector<double>*>&, const std::vector<Vector<double>*>&,
                                           const Recur<double>&);
template double step_loss(const std::string&, const std::vector<double>&, const double*, i64, double, double*);
template Result<float> network(const NetworkCase&, const Data&);
template Result<double> network(const NetworkCase&, const Data&);

}  // namespace naive
