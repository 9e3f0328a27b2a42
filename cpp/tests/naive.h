// The network in plain loops, for any number type: what the engine is compared with where there is no Python.
#ifndef FASTBPTT_TESTS_NAIVE_H
#define FASTBPTT_TESTS_NAIVE_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "engine.h"

namespace naive {

using fastbptt::i64;
using fastbptt::Loss;
using fastbptt::Reduction;
using fastbptt::Steps;

struct Case {
  i64 B = 1, T = 1, I = 1, H = 1, O = 1;  // O 0: no readout
  bool bias = true, lengths = false, h0 = false;
  Loss loss = Loss::mse;
  Steps steps = Steps::last;
  Reduction reduction = Reduction::mean;
  unsigned seed = 1;
};

template <class R>
struct Data {
  std::vector<R> params, x, h0, y;
  std::vector<i64> classes, lengths;
};

inline i64 parameters(const Case& c) { return c.I * c.H + c.H * c.H + c.H * c.O + (c.bias ? c.H + c.O : 0); }

// Values that are exact in float, so that every number type starts from the same; NaN in x beyond each length
inline Data<double> make_data(const Case& c) {
  std::mt19937 random(c.seed);
  const auto uniform = [&](double top) {
    return double(float(std::uniform_real_distribution<double>(-top, top)(random)));
  };
  Data<double> d;
  // units that saturate lose digits in 1 - h^2, whoever computes it: keep clear of that
  const double scale = 1 / std::sqrt(double(std::max(c.I, c.H)));
  for (i64 i = 0; i < parameters(c); ++i) d.params.push_back(uniform(scale));
  for (i64 b = 0; b < c.B; ++b) d.lengths.push_back(c.lengths ? 1 + i64(random() % std::uint64_t(c.T)) : c.T);
  for (i64 b = 0; b < c.B; ++b)
    for (i64 t = 0; t < c.T; ++t)
      for (i64 i = 0; i < c.I; ++i) d.x.push_back(t < d.lengths[std::size_t(b)] ? uniform(1.7) : NAN);
  if (c.h0)
    for (i64 i = 0; i < c.B * c.H; ++i) d.h0.push_back(uniform(0.9));
  const i64 outputs = c.O ? c.O : c.H, steps = c.steps == Steps::all ? c.T : 1;
  for (i64 i = 0; i < c.B * steps; ++i) d.classes.push_back(i64(random() % std::uint64_t(outputs)));
  for (i64 i = 0; i < c.B * steps * outputs; ++i) d.y.push_back(std::fabs(uniform(1)));
  return d;
}

template <class R>
std::vector<R> cast(const std::vector<double>& a) {
  return std::vector<R>(a.begin(), a.end());
}

template <class R>
struct Result {
  double loss = 0;
  std::vector<R> params, x, h0;
};

// Loss and gradients by the definition: h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h), y_t = h_t W_hy + b_y
template <class R>
Result<R> loss_and_grad(const Case& c, const Data<double>& given) {
  const auto n = [](i64 i) { return std::size_t(i); };
  const std::vector<R> p = cast<R>(given.params), x = cast<R>(given.x), h0 = cast<R>(given.h0), y = cast<R>(given.y);
  const i64 B = c.B, T = c.T, I = c.I, H = c.H, outputs = c.O ? c.O : H;
  const i64 W_hh = I * H, b_h = W_hh + H * H, W_hy = b_h + (c.bias ? H : 0), b_y = W_hy + H * c.O;
  Result<R> out;
  out.params.assign(p.size(), 0);
  out.x.assign(x.size(), 0);
  out.h0.assign(n(B * H), 0);
  double total_steps = 0;
  for (const i64 length : given.lengths) total_steps += c.steps == Steps::all ? double(length) : 1;

  for (i64 b = 0; b < B; ++b) {
    const i64 length = given.lengths[n(b)];
    std::vector<R> h(n((length + 1) * H), 0), dh(n((length + 1) * H), 0), z(n(outputs)), dz(n(outputs));
    for (i64 j = 0; j < H && c.h0; ++j) h[n(j)] = h0[n(b * H + j)];
    for (i64 t = 0; t < length; ++t) {
      R* now = &h[n((t + 1) * H)];
      const R* before = &h[n(t * H)];
      for (i64 j = 0; j < H; ++j) now[j] = c.bias ? p[n(b_h + j)] : R(0);
      for (i64 i = 0; i < I; ++i)
        for (i64 j = 0; j < H; ++j) now[j] += x[n((b * T + t) * I + i)] * p[n(i * H + j)];
      for (i64 i = 0; i < H; ++i)
        for (i64 j = 0; j < H; ++j) now[j] += before[i] * p[n(W_hh + i * H + j)];
      for (i64 j = 0; j < H; ++j) now[j] = std::tanh(now[j]);
    }
    double factor = 1;
    if (c.reduction == Reduction::mean) factor = 1 / total_steps;
    if (c.reduction == Reduction::sequence_mean) factor = 1 / double(B) / (c.steps == Steps::all ? double(length) : 1);
    if (c.reduction != Reduction::sum && c.loss != Loss::cross_entropy) factor /= double(outputs);

    for (i64 t = c.steps == Steps::all ? 0 : length - 1; t < length; ++t) {
      const R* state = &h[n((t + 1) * H)];
      const i64 at = c.steps == Steps::all ? b * T + t : b;
      for (i64 o = 0; o < outputs; ++o) {
        z[n(o)] = c.O == 0 ? state[o] : c.bias ? p[n(b_y + o)] : R(0);
        for (i64 j = 0; j < H && c.O; ++j) z[n(o)] += state[j] * p[n(W_hy + j * c.O + o)];
      }
      if (c.loss == Loss::cross_entropy) {
        const i64 target = given.classes[n(at)];
        R top = z[0], sum = 0;
        for (const R v : z) top = std::max(top, v);
        for (const R v : z) sum += std::exp(v - top);
        for (i64 o = 0; o < outputs; ++o)
          dz[n(o)] = R(factor) * (std::exp(z[n(o)] - top) / sum - (o == target ? 1 : 0));
        out.loss += factor * double(std::log(sum) + top - z[n(target)]);
      } else {
        for (i64 o = 0; o < outputs; ++o) {
          const R v = z[n(o)], target = y[n(at * outputs + o)];
          if (c.loss == Loss::bce) {
            out.loss += factor * double(std::max(v, R(0)) - v * target + std::log1p(std::exp(-std::fabs(v))));
            dz[n(o)] = R(factor) * (R(1) / (R(1) + std::exp(-v)) - target);
          } else {
            out.loss += factor * double((v - target) * (v - target));
            dz[n(o)] = R(factor) * 2 * (v - target);
          }
        }
      }
      R* d = &dh[n((t + 1) * H)];
      for (i64 o = 0; o < outputs; ++o) {
        if (c.O == 0) {
          d[o] += dz[n(o)];
          continue;
        }
        for (i64 j = 0; j < H; ++j) {
          d[j] += dz[n(o)] * p[n(W_hy + j * c.O + o)];
          out.params[n(W_hy + j * c.O + o)] += state[j] * dz[n(o)];
        }
        if (c.bias) out.params[n(b_y + o)] += dz[n(o)];
      }
    }
    std::vector<R> da(n(H));
    for (i64 t = length - 1; t >= 0; --t) {
      const R *now = &h[n((t + 1) * H)], *before = &h[n(t * H)];
      for (i64 j = 0; j < H; ++j) da[n(j)] = dh[n((t + 1) * H + j)] * (1 - now[j] * now[j]);
      for (i64 i = 0; i < I; ++i)
        for (i64 j = 0; j < H; ++j) {
          out.params[n(i * H + j)] += x[n((b * T + t) * I + i)] * da[n(j)];
          out.x[n((b * T + t) * I + i)] += da[n(j)] * p[n(i * H + j)];
        }
      for (i64 i = 0; i < H; ++i)
        for (i64 j = 0; j < H; ++j) {
          out.params[n(W_hh + i * H + j)] += before[i] * da[n(j)];
          dh[n(t * H + i)] += da[n(j)] * p[n(W_hh + i * H + j)];
        }
      for (i64 j = 0; j < H && c.bias; ++j) out.params[n(b_h + j)] += da[n(j)];
    }
    for (i64 j = 0; j < H; ++j) out.h0[n(b * H + j)] = dh[n(j)];
  }
  return out;
}

// The engine on the same case
template <class R>
Result<R> engine_loss_and_grad(const Case& c, const Data<double>& given) {
  using namespace fastbptt;
  std::vector<R> p = cast<R>(given.params);
  const std::vector<R> x = cast<R>(given.x), h0 = cast<R>(given.h0), y = cast<R>(given.y);
  constexpr Dtype dtype = sizeof(R) == 4 ? Dtype::f32 : Dtype::f64;
  constexpr i64 size = sizeof(R);
  const i64 outputs = c.O ? c.O : c.H;
  Batch batch;
  batch.x = {x.data(), dtype, {c.B, c.T, c.I}, {c.T * c.I * size, c.I * size, size}};
  if (c.lengths) batch.lengths = given.lengths.data();
  if (c.h0) batch.h0 = {h0.data(), dtype, {c.B, c.H, 0}, {c.H * size, size, 0}};
  Objective o;
  o.loss = c.loss;
  o.steps = c.steps;
  o.reduction = c.reduction;
  const i64 t = c.steps == Steps::all ? c.T : 1;
  if (c.loss == Loss::cross_entropy)
    o.y = {given.classes.data(), Dtype::i64, {c.B, t, 0}, {t * 8, 8, 0}};
  else if (c.steps == Steps::all)
    o.y = {y.data(), dtype, {c.B, c.T, outputs}, {c.T * outputs * size, outputs * size, size}};
  else
    o.y = {y.data(), dtype, {c.B, outputs, 0}, {outputs * size, size, 0}};
  Result<R> out;
  out.params.resize(p.size());
  out.x.resize(x.size());
  out.h0.resize(std::size_t(c.B * c.H));
  const auto engine = make_engine({"rnn", c.I, c.H, c.O, c.bias}, dtype, p.data());
  out.loss = engine->loss_and_grad(batch, o, {out.params.data(), out.x.data(), out.h0.data()});
  return out;
}

// Largest difference, relative to the largest entry of what is expected; infinite where a value is not finite.
// Numbers below the smallest normal one are zero by design, so entries are seen relative to at least 1 / epsilon of it.
template <class A>
double difference(const std::vector<A>& got, const std::vector<double>& expected) {
  using Limits = std::numeric_limits<A>;
  double worst = 0, largest = double(Limits::min()) / double(Limits::epsilon());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    const double d = std::fabs(double(got[i]) - expected[i]);
    worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
  }
  return worst / largest;
}

template <class A>
double difference(const Result<A>& got, const Result<double>& expected) {
  return std::max({difference(got.params, expected.params), difference(got.x, expected.x),
                   difference(got.h0, expected.h0), std::fabs(got.loss - expected.loss) / std::fabs(expected.loss)});
}

}  // namespace naive

#endif
