// The probes of a backward pass, against naive.h, for every instruction set that the machine can run.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "calls.h"
#include "dispatch.h"
#include "naive.h"
#include "thread_pool.h"

using namespace fastbptt;
using calls::EngineCall;
using calls::for_backends;
using calls::for_backends_in_turns;
using calls::same_bits;
using calls::text;
using naive::at;
using naive::Data;
using naive::NetworkCase;
using naive::Result;

namespace {

// Room for all of a Record, and the gradients beside it
template <class R>
struct Seen {
  std::vector<double> hidden, gates;
  std::vector<R> d_hidden, d_gates, saved, outputs;
  Result<R> rest;
};

template <class R>
Seen<R> look(const NetworkCase& c, EngineCall<R>& call, bool numbers, i64 memory_budget = 0) {
  const CellInfo& info = cell_info(c.net.cell);
  const i64 directions = c.net.state_rows(), rows = directions * c.B * c.T * c.net.hidden;
  Seen<R> out;
  const GradientTargets to = call.targets(out.rest);
  Probes probes;
  const auto targets = [](auto& a, i64 n) {
    a.assign(at(n), 0);
    return a.data();
  };
  probes.hidden = targets(out.hidden, directions * c.T);
  probes.gates = targets(out.gates, directions * c.T);
  if (numbers) {
    probes.d_hidden = targets(out.d_hidden, rows);
    probes.d_gates = targets(out.d_gates, rows * info.preactivations);
    probes.saved = targets(out.saved, rows * info.saved);
    probes.outputs = targets(out.outputs, c.B * (c.steps == Steps::all ? c.T : 1) * c.net.output_width());
  }
  out.rest.loss = call.engine().loss_and_grad(call.batch, call.objective, to, probes, memory_budget);
  return out;
}

// Norms over everything but direction and step of (directions, many, B, T, H)
template <class R>
std::vector<double> norms(const NetworkCase& c, const std::vector<R>& a, i64 many) {
  const i64 H = c.net.hidden, size = many * c.B * c.T * H;
  std::vector<double> squares(at(c.net.state_rows() * c.T), 0.0);
  for (i64 i = 0; i < i64(a.size()); ++i)
    squares[at(i / size * c.T + i / H % c.T)] += double(a[at(i)]) * double(a[at(i)]);
  for (double& s : squares) s = std::sqrt(s);
  return squares;
}

// The first `some` of each direction's `many` parts of (directions, many, ..)
template <class R>
std::vector<R> first_of(const NetworkCase& c, const std::vector<R>& a, i64 many, i64 some) {
  const i64 part = c.B * c.T * c.net.hidden;
  std::vector<R> out;
  for (i64 direction = 0; direction < c.net.state_rows(); ++direction) {
    const auto from = a.begin() + direction * many * part;
    out.insert(out.end(), from, from + some * part);
  }
  return out;
}

template <class R>
void check(const NetworkCase& c, const Data& data, const Result<double>& expected, const std::string& backend) {
  const CellInfo& info = cell_info(c.net.cell);
  const std::string name = backend + (sizeof(R) == 4 ? " float " : " double ") + text(c);
  const double most = sizeof(R) == 4 ? 1e-4 : 1e-11;
  EngineCall<R> call(c, data);
  const Seen<R> seen = look(c, call, true);
  CHECK_MESSAGE(calls::difference(seen.d_hidden, expected.d_hidden) < most, name);
  CHECK_MESSAGE(calls::difference(first_of(c, seen.d_gates, info.preactivations, info.gates), expected.d_gates) < most,
                name);
  CHECK_MESSAGE(calls::difference(first_of(c, seen.saved, info.saved, info.states), expected.states) < most, name);
  const auto& d_outputs = c.steps == Steps::all ? expected.d_outputs : expected.d_last;
  CHECK_MESSAGE(calls::difference(seen.outputs, d_outputs) < most, name);
  // norms: of the numbers that were seen, each of them by itself
  const auto of_hidden = norms(c, seen.d_hidden, 1),
             of_gates = norms(c, first_of(c, seen.d_gates, info.preactivations, info.gates), info.gates);
  for (std::size_t i = 0; i < of_hidden.size(); ++i) {
    CHECK_MESSAGE(std::fabs(seen.hidden[i] - of_hidden[i]) <= 1e-12 * of_hidden[i], name);
    CHECK_MESSAGE(std::fabs(seen.gates[i] - of_gates[i]) <= 1e-12 * of_gates[i], name);
  }
  // nothing else is different
  CHECK_MESSAGE(same_bits(call.loss_and_grad(), seen.rest), name);
  const Seen<R> again = look(c, call, false);
  CHECK_MESSAGE(
      (same_bits(again.rest, seen.rest) && same_bits(again.hidden, seen.hidden) && same_bits(again.gates, seen.gates)),
      name);
}

std::vector<NetworkCase> networks(const std::string& cell) {
  std::vector<NetworkCase> cases;
  for (unsigned n = 0; n < 16; ++n) {
    NetworkCase c;
    Spec& s = c.net;
    s.cell = cell;
    s.layers = 1 + n % 2;
    s.bidirectional = n / 2 % 2;
    c.lengths = n / 4 % 2;
    c.steps = static_cast<Steps>(n / 8 % 2);
    s.hidden = std::vector<i64>{1, 7, 16, 33, 64}[n % 5];
    naive::give_setting(s, 0.3);
    s.inputs = 1 + n % 4;
    s.outputs = std::vector<i64>{2, 0, 1}[n % 3];
    s.vocabulary = n % 7 == 0 ? 9 : 0;
    s.dropout = s.layers > 1 ? 0.2 : 0;
    c.drop = n % 3 == 0;
    c.initial = n % 4 == 1;
    c.B = 1 + n % 6;
    c.T = std::vector<i64>{1, 5, 9, 3, 300}[n % 5];
    c.loss = n % 2 ? "mse" : "bce";
    c.seed = n + 1;
    cases.push_back(c);
  }
  return cases;
}

}  // namespace

TEST_CASE("gradients of every step, and their norms") {
  std::size_t n = 0, number = 0;
  for (const naive::Kind& kind : naive::structures())
    for (const NetworkCase& c : networks(kind.name)) {
      if (!calls::in_sample(number++)) continue;
      const Data data = naive::make_data(c);
      const Result<double> expected = naive::network<double>(c, data);
      const auto both = [&](const std::string& backend) {
        check<double>(c, data, expected, backend);
        if (expected.kink > 2e-6) check<float>(c, data, expected, backend);
      };
      if (c.T < 100)
        for_backends(both);
      else
        for_backends_in_turns(n++, both);
    }
}

TEST_CASE("neither threads nor a memory budget change a bit of the norms") {
  std::size_t n = 0;
  for (const std::string& cell : naive::structure_names())
    for (const bool bidirectional : {false, true})
      for (const bool lengths : {false, true}) {
        NetworkCase c;
        c.net.cell = cell;
        c.net.inputs = 9;
        c.net.hidden = 65;
        naive::give_setting(c.net, 0.3);
        c.net.outputs = 2;
        c.net.layers = 2;
        c.net.bidirectional = bidirectional;
        c.lengths = lengths;
        c.B = 33;
        c.T = 40;
        c.steps = Steps::all;
        const Data data = naive::make_data(c, parameter_count(c.net), cell_info(cell).states);
        for_backends_in_turns(n++, [&](const std::string& backend) {
          EngineCall<float> call(c, data);
          set_num_threads(1);
          const Seen<float> one = look(c, call, false);
          const auto same = [&](const Seen<float>& other) {
            return same_bits(other.hidden, one.hidden) && same_bits(other.gates, one.gates) &&
                   same_bits(other.rest, one.rest);
          };
          for (const int threads : {2, 3}) {
            set_num_threads(threads);
            CHECK_MESSAGE(same(look(c, call, false)), backend, " ", text(c), ": ", threads);
          }
          if (!bidirectional) {
            const i64 most = call.engine().memory_needed({c.B, c.T}, 0),
                      least = call.engine().minimum_memory({c.B, c.T});
            CHECK_MESSAGE(same(look(c, call, false, (most + least) / 2)), backend, " ", text(c), " in windows");
            CHECK((lengths || call.engine().report().segments > 1));
          }
        });
      }
  set_num_threads(default_threads());
}

// Each step multiplies by a rate: the squares leave the range of double long before the numbers do
TEST_CASE("norms below and above what squares can hold") {
  for (const double rate : {1e-9, 1e9}) {
    NetworkCase c;
    c.net.cell = "relu";
    c.net.inputs = 1;
    c.net.hidden = 3;
    c.net.outputs = 1;
    c.net.bias = false;
    c.B = 2;
    c.T = 33;
    Data data = naive::make_data(c);
    std::fill(data.params.begin(), data.params.end(), 0.0);
    const naive::Places places(c.net);
    for (i64 j = 0; j < 3; ++j) {
      data.params[at(places.directions[0].W_xh + j)] = rate > 1 ? 1e-290 : 1;
      data.params[at(places.directions[0].W_hh + j * 4)] = rate;
      data.params[at(places.W_hy + j)] = 1;
    }
    std::fill(data.x.begin(), data.x.end(), 1.0);
    for_backends([&](const std::string& backend) {
      EngineCall<double> call(c, data);
      call.batch.check_finite = false;
      const Seen<double> seen = look(c, call, true);
      const auto* last = &seen.d_hidden[at((c.T - 1) * 3)];
      const double top = std::sqrt(3.0) * std::hypot(last[0], seen.d_hidden[at((2 * c.T - 1) * 3)]);
      CHECK(top > 0);
      for (i64 t = 0; t < c.T; ++t) {
        const double expected = top * std::pow(rate, double(c.T - 1 - t));
        CHECK_MESSAGE(std::fabs(seen.hidden[at(t)] - expected) < 1e-9 * expected, backend, " step ", t);
        CHECK(seen.hidden[at(t)] == seen.gates[at(t)]);
      }
    });
  }
}

TEST_CASE("steps that no gradient reaches have the norm zero") {
  for_backends([&](const std::string& backend) {
    NetworkCase c;
    c.net.cell = "rnn";
    c.net.inputs = 2;
    c.net.hidden = 20;
    c.net.outputs = 1;
    c.B = 3;
    c.T = 900;
    Data data = naive::make_data(c);
    const naive::Places places(c.net);
    for (i64 i = 0; i < 400; ++i) data.params[at(places.directions[0].W_hh + i)] *= 0.05;
    EngineCall<float> call(c, data);
    const Seen<float> seen = look(c, call, true);
    const auto lives = std::find_if(seen.hidden.begin(), seen.hidden.end(), [](double a) { return a > 0; });
    const auto first = lives - seen.hidden.begin();
    CHECK_MESSAGE(first > 600, backend);  // a block of time and more was never gone through
    CHECK(std::all_of(lives, seen.hidden.end(), [](double a) { return a > 0; }));
    CHECK(*lives < 1e-34);
    const auto of_numbers = norms(c, seen.d_hidden, 1);
    for (std::size_t t = 0; t < 900; ++t) CHECK(std::fabs(seen.hidden[t] - of_numbers[t]) <= 1e-12 * of_numbers[t]);
    const Result<double> plain = naive::network<double>(c, data);
    CHECK(calls::difference(seen.saved, plain.states) < 1e-4);  // states are there nevertheless
  });
}

TEST_CASE("a training step leaves norms, and the norm of the whole gradient") {
  NetworkCase c;
  c.net.cell = "gru";
  c.net.inputs = 3;
  c.net.hidden = 8;
  c.net.outputs = 1;
  c.B = 4;
  c.T = 6;
  const Data data = naive::make_data(c);
  for_backends([&](const std::string& backend) {
    EngineCall<double> call(c, data);
    const Seen<double> expected = look(c, call, false);
    double squares = 0;
    for (const double g : expected.rest.params) squares += g * g;
    for (const Clip& clip : {Clip{}, Clip{.norm = 1e-3}, Clip{.value = 1e-4}}) {
      EngineCall<double> fresh(c, data);
      fresh.batch.check_finite = false;
      calls::AdamOf<double> adam(fresh.params().size());
      std::vector<double> hidden(6, 0.0), gates(6, 0.0);
      double norm = 0;
      Probes probes;
      probes.hidden = hidden.data();
      probes.gates = gates.data();
      probes.norm = &norm;
      fresh.engine().train_step(fresh.batch, fresh.objective, {&adam.state, clip}, probes);
      CHECK_MESSAGE(norm == doctest::Approx(std::sqrt(squares)).epsilon(1e-12), backend);
      CHECK(hidden == expected.hidden);
      CHECK(gates == expected.gates);
    }
  });
}
