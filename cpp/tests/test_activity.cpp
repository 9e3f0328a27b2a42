// Penalties on states and Omega: their gradients against differences of their values, and Omega against its formula.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "calls.h"
#include "naive.h"

using namespace fastbptt;
using calls::EngineCall;
using calls::for_backends;
using naive::at;
using naive::Data;
using naive::NetworkCase;
using naive::Result;

namespace {

struct Terms {
  double values[4] = {};
  double sum() const { return values[0] + values[1] + values[2] + values[3]; }
};

NetworkCase network(const std::string& cell, i64 hidden, i64 layers, bool bidirectional, Steps steps) {
  NetworkCase c;
  c.net.cell = cell;
  c.net.inputs = 3;
  c.net.hidden = hidden;
  naive::give_setting(c.net, 0.3);
  c.net.learn_setting = false;
  c.net.outputs = hidden % 2 ? 2 : 0;
  c.net.layers = layers;
  c.net.bidirectional = bidirectional;
  c.B = 6;
  c.T = 7;
  c.lengths = true;
  c.steps = steps;
  return c;
}

}  // namespace

TEST_CASE("penalties on states by differences") {
  constexpr double step = 1e-7;  // short, because |h| has a kink at 0
  for_backends([&](const std::string& backend) {
    for (const std::string cell : {"rnn", "leaky", "leaky_preactivation_tanh", "lstm", "gru_before"})
      for (const i64 hidden : {5, 6, 49})
        for (const bool bidirectional : {false, true})
          for (const Steps steps : {Steps::last, Steps::all, Steps::mean, Steps::max}) {
            const NetworkCase c = network(cell, hidden, 2, bidirectional, steps);
            const Data data = naive::make_data(c);
            EngineCall<double> call(c, data);
            Terms terms;
            call.objective.activity = {0.3, 0.5, 0.7, 0, terms.values};
            const Result<double> found = call.loss_and_grad();
            CHECK(terms.values[0] > 0);
            CHECK(terms.values[2] > 0);
            CHECK(terms.values[3] == 0);
            const i64 count = static_cast<i64>(found.params.size());
            for (i64 i = 3; i < count; i += count / 4) {
              double& one = call.params()[at(i)];
              const double before = one;
              double total[2];
              for (const int k : {0, 1}) {
                one = before + (k ? step : -step);
                total[k] = call.loss_and_grad().loss + terms.sum();
              }
              one = before;
              const double slope = (total[1] - total[0]) / (2 * step);
              CHECK_MESSAGE(std::fabs(found.params[at(i)] - slope) < 1e-7 + 1e-5 * std::fabs(slope),
                            (backend + calls::text(c) + " " + std::to_string(i)));
            }
          }
  });
}

TEST_CASE("Omega by its formula") {
  for_backends([&](const std::string& backend) {
    for (const std::string cell : {"rnn", "relu", "leaky", "leaky_rate_sigmoid"})
      for (const i64 H : {5, 49}) {
        NetworkCase c = network(cell, H, 1, false, Steps::last);
        const Data data = naive::make_data(c);
        EngineCall<double> call(c, data);
        const Result<double> plain = call.loss_and_grad();
        const CellInfo& info = cell_info(cell);
        const std::size_t size = at(c.B * c.T * H);
        std::vector<double> d_hidden(size), d_gates(size), saved(size * at(info.saved));
        Probes probes;
        probes.d_hidden = d_hidden.data();
        probes.d_gates = d_gates.data();
        probes.saved = saved.data();
        Result<double> rest, with;
        call.engine().loss_and_grad(call.batch, call.objective, call.targets(rest), probes);
        Terms terms;
        call.objective.activity = {0, 0, 0, 0.25, terms.values};
        with = call.loss_and_grad();
        const i64 W = naive::Places(c.net).directions[0].W_hh;
        const bool leaky = cell_info(cell).setting != nullptr;
        // the value, and its derivative by one entry of W_hh, by differences with all else fixed
        const auto omega = [&](i64 entry, double change) {
          double total = 0;
          for (i64 b = 0; b < c.B; ++b)
            for (i64 t = 1; t < data.lengths[at(b)]; ++t) {
              const double *da = &d_gates[at((b * c.T + t) * H)], *dh = &d_hidden[at((b * c.T + t) * H)],
                           *h = &saved[at((b * c.T + t - 1) * H)];
              double from = 0, to = 0;
              for (i64 i = 0; i < H; ++i) {
                double v = leaky ? (1 - c.net.setting_of(0, i)) * dh[i] : 0;
                for (i64 j = 0; j < H; ++j)
                  v += (data.params[at(W + i * H + j)] + (i * H + j == entry ? change : 0)) * da[j];
                if (!leaky) v *= cell == "relu" ? double(h[i] > 0) : 1 - h[i] * h[i];
                to += v * v;
                from += leaky ? dh[i] * dh[i] : da[i] * da[i];
              }
              if (from > 0) total += std::pow(std::sqrt(to / from) - 1, 2);
            }
          return 0.25 * total / double(c.B);
        };
        CHECK_MESSAGE(terms.values[3] == doctest::Approx(omega(-1, 0)).epsilon(1e-10), (backend + cell));
        for (i64 entry = 1; entry < H * H; entry += H * H / 5) {
          const double slope = (omega(entry, 1e-6) - omega(entry, -1e-6)) / 2e-6,
                       found = with.params[at(W + entry)] - plain.params[at(W + entry)];
          CHECK_MESSAGE(std::fabs(found - slope) < 1e-8 + 1e-5 * std::fabs(slope), (backend + cell));
        }
      }
  });
}

TEST_CASE("Omega is refused where there is none") {
  const NetworkCase c = network("gru", 5, 1, false, Steps::last);
  EngineCall<double> call(c, naive::make_data(c));
  Terms terms;
  call.objective.activity = {0, 0, 0, 1, terms.values};
  CHECK_THROWS(call.loss_and_grad());
}
