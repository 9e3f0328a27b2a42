// The engine against naive.h, for every instruction set that the machine can run.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <stdexcept>
#include <map>
#include <random>
#include <string>

#include "calls.h"
#include "dispatch.h"
#include "engine/workspace.h"
#include "memory.h"
#include "naive.h"

using namespace fastbptt;
using calls::EngineCall;
using calls::for_backends;
using calls::for_backends_in_turns;
using calls::text;
using naive::at;
using naive::NetworkCase;
using naive::Result;

namespace {

// Cross-entropy needs two classes
void check_loss(NetworkCase& c) {
  if (c.loss == "cross_entropy" && c.net.output_width() == 1) c.loss = "bce";
}

// What a case has beside its sizes, in turns
void vary(NetworkCase& c, unsigned n) {
  c.net.outputs = std::vector<i64>{1, 3, 0, 10, 17}[n % 5];
  c.net.bias = n % 7 != 0;
  c.lengths = n / 2 % 2;
  c.initial = n / 3 % 2;
  c.loss = naive::losses()[n / 4 % 3];
  c.steps = static_cast<Steps>(n / 5 % 2);
  c.reduction = static_cast<Reduction>(n / 7 % 3);
  c.seed = n + 1;
  check_loss(c);
}

const std::vector<i64> batches{1, 2, 5, 6, 7, 33};

std::vector<i64> times() { return calls::full_grid() ? std::vector<i64>{1, 2, 10, 100} : std::vector<i64>{1, 2, 10}; }

std::vector<i64> sizes() {
  return calls::full_grid() ? std::vector<i64>{1, 3, 16, 17, 63, 64, 65, 129} : std::vector<i64>{1, 3, 16, 17, 65};
}

// Every shape
std::vector<NetworkCase> grid() {
  std::vector<NetworkCase> cases;
  for (const i64 B : batches)
    for (const i64 T : times())
      for (const i64 I : sizes())
        for (const i64 H : sizes()) {
          NetworkCase c;
          c.net.cell = "rnn";
          c.net.inputs = I;
          c.net.hidden = H;
          c.B = B;
          c.T = T;
          vary(c, static_cast<unsigned>(cases.size()));
          cases.push_back(c);
        }
  return cases;
}

// Every pair of input and hidden size, each with another batch and time
std::vector<NetworkCase> thin_grid(const std::string& cell) {
  std::vector<NetworkCase> cases;
  auto n = static_cast<std::size_t>(cell.size() + std::size_t(cell[0]));
  for (const i64 I : sizes())
    for (const i64 H : sizes()) {
      NetworkCase c;
      c.net.cell = cell;
      c.net.inputs = I;
      c.net.hidden = H;
      naive::give_setting(c.net, 0.3);
      c.B = batches[n % 6];
      c.T = calls::full_grid() && n % 7 == 0 ? 100 : std::vector<i64>{1, 2, 10}[n / 6 % 3];
      vary(c, static_cast<unsigned>(n++));
      cases.push_back(c);
    }
  return cases;
}

// Every combination of what a network may have, in small sizes
std::vector<NetworkCase> networks() {
  std::vector<NetworkCase> cases;
  std::mt19937 random(7);
  const auto one_of = [&](const std::vector<i64>& choice) { return choice[random() % choice.size()]; };
  for (int repeat = 0; repeat < (calls::thorough() ? 3 : 1); ++repeat)
    for (const naive::Kind& kind : naive::structures())
      for (unsigned n = 0; n < 3 * 2 * 2 * 2 * 2 * 2; ++n) {
        NetworkCase c;
        Spec& s = c.net;
        s.cell = kind.name;
        s.layers = 1 + n % 3;
        s.bidirectional = n / 3 % 2;
        s.bias = n / 6 % 2;
        c.lengths = n / 12 % 2;
        c.initial = n / 24 % 2;
        s.learn_state = n / 48 % 2;
        s.static_size = n % 4 == 0 ? 1 + n % 3 : 0;
        s.hidden = one_of({1, 7, 7, 16, 16, 17, 17, 65});
        naive::give_setting(s, 0.3);
        s.inputs = one_of({1, 3, 16, 33});
        s.outputs = one_of({0, 0, 1, 3, 17});
        if (s.outputs && n % 5 < 2) s.output_bias = n % 5 == 0;
        for (i64 unit = n % 2; s.outputs && n % 7 < 3 && unit < s.width(); unit += 1 + n % 3)
          s.read_units.push_back(unit);
        if (n % 3 == 1) s.rank = (s.hidden + 2) / 3;
        if (one_of({0, 1})) {
          s.vocabulary = one_of({1, 5, 40});
          s.padding_index = one_of({-1, s.vocabulary - 1});
          s.freeze_embedding = one_of({0, 0, 1});
        }
        s.dropout = s.layers > 1 ? double(one_of({0, 1, 3})) * 0.2 : 0;
        c.drop = one_of({0, 1, 1});
        c.weighted = one_of({0, 1});
        c.B = one_of({1, 2, 3, 9});
        c.T = one_of({1, 2, 5, 8});
        c.loss = naive::losses()[std::size_t(one_of({0, 1, 2}))];
        c.steps = static_cast<Steps>(one_of({0, 1}));
        c.reduction = static_cast<Reduction>(one_of({0, 1, 2}));
        c.seed = static_cast<unsigned>(cases.size() + 1);
        if (n % 5 < 3) s.recurrent_dropout = 0.3;
        if (n % 5 > 1 && !s.vocabulary) s.input_noise = 0.2;
        if (n % 5 > 1 && kind.gates == 1) s.recurrent_noise = 0.1;
        if (n % 3 == 1 && !cell_info(s.cell).given) s.zoneout[0] = 0.2;
        if (n % 3 > 0 && cell_info(s.cell).states > 1 && !cell_info(s.cell).given) s.zoneout[1] = 0.4;
        s.noise_by_setting = n % 2 && !s.setting.empty() && !s.learn_setting;
        if (s.noise_by_setting) s.input_noise = 0;  // one alpha for each unit
        check_loss(c);
        if (calls::in_sample(n)) cases.push_back(c);
      }
  // enough rows for several blocks of time
  for (const naive::Kind& kind : naive::structures())
    for (const bool bidirectional : {false, true}) {
      NetworkCase c;
      Spec& s = c.net;
      s.cell = kind.name;
      s.inputs = s.hidden = 5;
      s.layers = 2;
      naive::give_setting(s, 0.3);
      s.bidirectional = bidirectional;
      s.vocabulary = bidirectional ? 7 : 0;
      s.dropout = 0.2;
      s.learn_state = c.lengths = c.drop = true;
      s.recurrent_dropout = bidirectional ? 0.3 : 0;
      s.recurrent_noise = kind.gates == 1 ? 0.1 : 0;
      c.B = 4;
      c.T = 400;
      c.steps = Steps::all;
      c.seed = static_cast<unsigned>(cases.size() + 1);
      cases.push_back(c);
    }
  return cases;
}

// In double each error is held to 1e-12. In float a single one says little: where a sum cancels, one of the two is
// lucky. So each is held to 1e-4, and their distribution over the cases to four times that of plain loops in float.
class Comparison {
 public:
  void compare(const NetworkCase& c, bool tape) {
    // Long sequences take most of the time: instruction sets and number types take turns
    const bool all = c.T < 100 || calls::thorough();
    const auto turn = std::mt19937(c.seed)();
    if (!all && !calls::in_sample(turn)) return;
    const auto data = naive::make_data(c);
    const auto expected = naive::network<double>(c, data);
    // this close to its kink, relu in float may take the other branch
    const bool single = expected.kink > 2e-6 && (all || turn / 256 % 2);
    double plain = 0;
    if (single) {
      const auto got = naive::network<float>(c, data);
      plain = std::max(calls::gradient_difference(c.net, got, expected), calls::loss_difference(got, expected));
    }
    const auto engine = [&](const std::string& name) {
      const double d64 = error<double>(c, data, expected, name, tape);
      CHECK_MESSAGE(d64 < 1e-12, name, " ", text(c), ": ", d64);
      worst64_ = std::max(worst64_, d64);
      if (!single) return;
      const double d32 = error<float>(c, data, expected, name, tape);
      CHECK_MESSAGE(d32 < 1e-4, name, " ", text(c), ": ", d32);
      single_[name].got.push_back(d32);
      single_[name].plain.push_back(plain);
    };
    if (all)
      for_backends(engine);
    else
      for_backends_in_turns(turn, engine);
    ++cases_;
  }

  void finish(const std::string& what) {
    MESSAGE(what, ": ", cases_, " cases, worst in double ", worst64_);
    for (auto& [name, errors] : single_) {
      std::sort(errors.got.begin(), errors.got.end());
      std::sort(errors.plain.begin(), errors.plain.end());
      std::string ratios;
      for (const double q : {0.5, 0.9, 0.99}) {
        const auto place = std::size_t(q * double(errors.got.size()));
        ratios += " " + std::to_string(errors.got[place] / errors.plain[place]);
        CHECK(errors.got[place] <= 4 * errors.plain[place]);
      }
      MESSAGE(name, " in float, 50 %, 90 % and 99 % of ", errors.got.size(), " cases:", ratios,
              " times plain loops; most ", errors.got.back());
    }
  }

 private:
  // tape: forward and backward too, with the gradient of the outputs that the loss has
  template <class R>
  double error(const NetworkCase& c, const naive::Data& data, const Result<double>& expected, const std::string& name,
               bool tape) {
    EngineCall<R> call(c, data);
    const Result<R> got = call.loss_and_grad();
    CHECK(std::string(proof_of_backend()) == name);
    const double worst =
        std::max(calls::gradient_difference(c.net, got, expected), calls::loss_difference(got, expected));
    if (!tape) return worst;
    CHECK(call.engine().loss(call.batch, call.objective) == got.loss);
    naive::Data again = data;
    if (c.steps == Steps::all)
      again.d_outputs = expected.d_outputs;
    else
      again.d_last = expected.d_last;
    EngineCall<R> by_hand(c, again);
    const std::unique_ptr<Tape> kept = by_hand.forward();
    Result<R> shown = by_hand.backward(*kept);
    by_hand.read(*kept, shown);
    CHECK_MESSAGE(calls::same_bits(by_hand.predict().outputs, shown.outputs), name, " ", text(c));
    const double second =
        std::max(calls::gradient_difference(c.net, shown, expected), calls::shown_difference(shown, expected));
    CHECK_MESSAGE(second < (sizeof(R) == 4 ? 1e-4 : 1e-12), name, " ", text(c), " by tape: ", second);
    return worst;
  }

  double worst64_ = 0;
  std::size_t cases_ = 0;
  struct Errors {
    std::vector<double> got, plain;
  };
  std::map<std::string, Errors> single_;  // by instruction set
};

}  // namespace

TEST_CASE("a tanh network's loss and gradients, at every shape") {
  Comparison comparison;
  for (const NetworkCase& c : grid()) comparison.compare(c, false);
  comparison.finish("rnn");
}

TEST_CASE("every cell's loss and gradients, at every size") {
  Comparison comparison;
  for (const naive::Kind& kind : naive::structures())
    for (const NetworkCase& c : thin_grid(kind.name)) comparison.compare(c, false);
  comparison.finish("cells");
}

TEST_CASE("layers, directions, states, tokens and dropout of every cell") {
  Comparison comparison;
  for (const NetworkCase& c : networks()) comparison.compare(c, true);
  comparison.finish("networks");
}

TEST_CASE("where each parameter stands") {
  const auto text = [](const Spec& spec) {
    std::string out;
    for (const Parameter& p : layout(spec)) {
      out += p.name + " (";
      for (const i64 n : p.shape) out += std::to_string(n) + ",";
      out += ") " + std::to_string(p.offset) + "\n";
    }
    return out + std::to_string(parameter_count(spec));
  };
  Spec s;
  s.cell = "rnn";
  s.inputs = 3;
  s.hidden = 2;
  CHECK(text(s) == "W_xh (3,2,) 0\nW_hh (2,2,) 6\nb_h (2,) 10\n12");
  s.bias = false;
  s.outputs = 4;
  CHECK(text(s) == "W_xh (3,2,) 0\nW_hh (2,2,) 6\nW_hy (2,4,) 10\n18");
  s.bias = s.bidirectional = s.learn_state = true;
  s.cell = "gru";
  s.layers = 2;
  s.vocabulary = 7;
  CHECK(text(s) ==
        "W_xh (3,6,) 0\nW_hh (2,6,) 18\nb_h (6,) 30\nb_hn (2,) 36\n"
        "W_xh_reverse (3,6,) 38\nW_hh_reverse (2,6,) 56\nb_h_reverse (6,) 68\nb_hn_reverse (2,) 74\n"
        "W_xh_l1 (4,6,) 76\nW_hh_l1 (2,6,) 100\nb_h_l1 (6,) 112\nb_hn_l1 (2,) 118\n"
        "W_xh_l1_reverse (4,6,) 120\nW_hh_l1_reverse (2,6,) 144\nb_h_l1_reverse (6,) 156\n"
        "b_hn_l1_reverse (2,) 162\n"
        "h0 (4,2,) 164\nW_hy (4,4,) 172\nb_y (4,) 188\nE (7,3,) 192\n213");
  s = Spec{.cell = "lstm", .inputs = 1, .hidden = 2, .outputs = 0, .bias = false, .learn_state = true};
  CHECK(text(s) == "W_xh (1,8,) 0\nW_hh (2,8,) 8\nh0 (1,2,) 24\nc0 (1,2,) 26\n28");
  for (const naive::Kind& kind : naive::structures()) {
    s.cell = kind.name;
    naive::give_setting(s, 0.3);
    CHECK(naive::Places(s).count == parameter_count(s));
  }
  s = Spec{.cell = "rnn", .inputs = 3, .hidden = 2, .outputs = 4, .bias = false, .bidirectional = true};
  s.output_bias = 1;
  s.read_units = {0, 2, 3};
  CHECK(text(s).ends_with("W_hy (3,4,) 20\nb_y (4,) 32\n36"));
  for (const std::vector<i64>& units : {std::vector<i64>{4}, {-1}, {1, 1}, {2, 1}}) {
    s.read_units = units;
    CHECK_THROWS_AS(layout(s), std::invalid_argument);
  }
}

TEST_CASE("arrays of any strides and number types") {
  NetworkCase c;
  c.net.cell = "lstm";
  c.net.layers = 2;
  c.net.inputs = 3;
  c.net.hidden = 5;
  c.net.outputs = 2;
  c.B = 4;
  c.T = 6;
  c.initial = true;
  c.steps = Steps::all;
  const auto data = naive::make_data(c);
  for_backends([&](const std::string& name) {
    EngineCall<float> plain(c, data), call(c, data);
    const Result<float> expected = plain.loss_and_grad();
    // in double, the axes in another order, backwards in time, gaps between the numbers
    std::vector<double> x(at(6 * 4 * 6), NAN), h0(at(2 * 5 * 4), NAN), y(at(4 * 6 * 4), NAN);
    for (i64 b = 0; b < 4; ++b)
      for (i64 t = 0; t < 6; ++t) {
        for (i64 i = 0; i < 3; ++i) x[at(((5 - t) * 4 + b) * 6 + 2 * i)] = data.x[at((b * 6 + t) * 3 + i)];
        for (i64 o = 0; o < 2; ++o) y[at((b * 6 + t) * 4 + 3 - o)] = data.y[at((b * 6 + t) * 2 + o)];
      }
    for (i64 layer = 0; layer < 2; ++layer)
      for (i64 b = 0; b < 4; ++b)
        for (i64 j = 0; j < 5; ++j) h0[at((layer * 5 + j) * 4 + b)] = data.initial[0][at((layer * 4 + b) * 5 + j)];
    call.batch.x = {&x[at(5 * 4 * 6)], Dtype::f64, {4, 6, 3}, {6 * 8, -4 * 6 * 8, 2 * 8}};
    call.batch.initial[0] = {h0.data(), Dtype::f64, {2, 4, 5}, {5 * 4 * 8, 8, 4 * 8}};
    call.objective.blocks[0].y = {&y[3], Dtype::f64, {4, 6, 2}, {6 * 4 * 8, 4 * 8, -8}};
    CHECK_MESSAGE(calls::same_bits(call.loss_and_grad(), expected), name);
  });
}

TEST_CASE("one of two initial states given, the other zero or learned") {
  for (const bool learn : {false, true})
    for (const int given : {0, 1}) {
      NetworkCase c;
      c.net.cell = "lstm";
      c.net.inputs = 2;
      c.net.hidden = 3;
      c.net.learn_state = learn;
      c.B = 2;
      c.T = 4;
      c.initial = true;
      naive::Data data = naive::make_data(c);
      EngineCall<double> call(c, data);
      const int other = 1 - given;
      call.batch.initial[other] = {};
      const naive::Places places(c.net);
      for (i64 i = 0; i < 6; ++i)
        data.initial[other][at(i)] = learn ? data.params[at(places.initial[other] + i % 3)] : 0.0;
      const Result<double> expected = naive::network<double>(c, data), got = call.loss_and_grad();
      CHECK(calls::difference(got.x, expected.x) < 1e-12);
      for (int k = 0; k < 2; ++k) CHECK(calls::difference(got.initial[k], expected.initial[k]) < 1e-12);
      for (i64 j = 0; learn && j < 3; ++j) {
        CHECK(got.params[at(places.initial[given] + j)] == 0);
        const double sum = expected.initial[other][at(j)] + expected.initial[other][at(3 + j)];
        CHECK(got.params[at(places.initial[other] + j)] == doctest::Approx(sum).epsilon(1e-12));
      }
    }
}

TEST_CASE("values that are not finite are named, and nothing is updated") {
  float params[2 + 4 + 2 + 2 + 1] = {0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.6F, 0, 0, 0.7F, 0.8F, 0};
  float h0[2] = {0, 0}, final[2] = {7, 7};
  float x[3] = {1, NAN, 3}, y[1] = {1};
  const auto engine = make_engine({.cell = "rnn", .inputs = 1, .hidden = 2, .outputs = 1}, Dtype::f32, params);
  calls::AdamOf<float> adam(11);
  Batch batch;
  batch.x = calls::array(x, Dtype::f32, 1, 3, 1);
  batch.initial[0] = calls::array(h0, Dtype::f32, 1, 1, 2);
  const Loss mse("mse"), bce("bce");
  Objective o;
  o.blocks = {{.loss = &mse}};
  o.blocks[0].y = calls::array(y, Dtype::f32, 1, 1);
  Probes probes;
  probes.final_state[0] = final;
  std::vector<float> before(params, params + 11);
  const auto step = [&] { return engine->train_step(batch, o, {&adam.state, {}}, probes); };
  CHECK_THROWS_WITH(step(), "x holds a value that is not finite (nan) at index (0, 1, 0)");
  x[1] = 2;
  params[3] = std::numeric_limits<float>::infinity();
  before[3] = params[3];
  CHECK_THROWS_WITH(step(), "parameter W_hh holds a value that is not finite (inf) at index (0, 1)");
  h0[1] = NAN;
  CHECK_THROWS_WITH(step(), "h0 holds a value that is not finite (nan) at index (0, 0, 1)");
  y[0] = NAN;
  h0[1] = 0;
  params[3] = before[3] = 0.4F;
  CHECK_THROWS_WITH(step(), "y holds a value that is not finite (nan) at index (0, 0)");
  y[0] = 2;
  o.blocks[0].loss = &bce;
  CHECK_THROWS_WITH(step(), "y holds 2 at index (0, 0); expected values from 0 to 1 for loss 'bce'");
  CHECK(std::memcmp(before.data(), params, sizeof params) == 0);
  CHECK(adam.state.step == 0);
  CHECK(final[0] == 7);
  y[0] = 1;
  CHECK(step() > 0);
  CHECK(adam.state.step == 1);
  CHECK(final[0] != 7);
  CHECK(std::memcmp(before.data(), params, sizeof params) != 0);
}

TEST_CASE("tokens are looked up, and named if there is no such row") {
  NetworkCase c;
  c.net = {.cell = "gru", .inputs = 2, .hidden = 3, .outputs = 1, .vocabulary = 4};
  c.B = 2;
  c.T = 3;
  c.lengths = true;
  naive::Data data = naive::make_data(c);
  data.lengths = {3, 2};
  data.tokens = {0, 1, 2, 3, 0, 99};  // the last one is beyond its sequence's end
  CHECK(std::isfinite(EngineCall<float>(c, data).loss_and_grad().loss));
  for (const i64 token : {i64(4), i64(-1), i64(1) << 40}) {
    data.tokens[3] = token;
    CHECK_THROWS_WITH(EngineCall<float>(c, data).loss_and_grad(),
                      ("x holds token " + std::to_string(token) + " at index (1, 0); expected tokens 0 to 3").c_str());
  }
  // only the rows that are read are looked at
  data.tokens[3] = 3;
  data.params[at(layout(c.net).back().offset + 2 * 2 + 1)] = NAN;
  CHECK_THROWS_WITH(EngineCall<float>(c, data).loss_and_grad(),
                    "parameter E holds a value that is not finite (nan) at index (2, 1)");
  data.tokens[2] = 0;
  CHECK(std::isfinite(EngineCall<float>(c, data).loss_and_grad().loss));
}

TEST_CASE("sizes that overflow or exceed the memory are refused") {
  const i64 huge = i64(1) << 40;
  CHECK_THROWS_AS(layout({.cell = "rnn", .inputs = huge, .hidden = huge, .outputs = 1}), std::length_error);
  CHECK_THROWS_AS(layout({.cell = "lstm", .inputs = 1, .hidden = huge / 512, .outputs = 1}), std::length_error);
  CHECK_THROWS_AS(layout({.cell = "rnn", .inputs = 0, .hidden = 1, .outputs = 1}), std::invalid_argument);
  CHECK_THROWS_AS(layout({.cell = "rnn", .inputs = 1, .hidden = 1, .layers = 0}), std::invalid_argument);
  CHECK_THROWS_AS(layout({.cell = "rnn", .inputs = 1, .hidden = 1, .dropout = 1}), std::invalid_argument);
  CHECK_THROWS_AS(layout({.cell = "rnn", .inputs = 1, .hidden = 1, .vocabulary = 3, .padding_index = 3}),
                  std::invalid_argument);
  CHECK_THROWS_WITH(find_cell("tree"),
                    "cell is 'tree'; expected one of rnn, relu, rnn_softplus, rnn_sigmoid, leaky, leaky_rate_relu, "
                    "leaky_rate_softplus, leaky_rate_sigmoid, leaky_preactivation_tanh, leaky_preactivation_relu, "
                    "leaky_preactivation_softplus, leaky_preactivation_sigmoid, gru, gru_before, lstm");
  std::vector<float> params(12);
  const auto engine = make_engine({.cell = "rnn", .inputs = 1, .hidden = 2, .outputs = 1}, Dtype::f32, params.data());
  const std::vector<float> one(1);
  const Array x{one.data(), Dtype::f32, {1 << 20, huge, 1}, {0, 0, 0}};
  Batch batch;
  batch.x = x;
  CHECK_THROWS_AS(engine->forward(batch), std::bad_alloc);
}

TEST_CASE("what a step needs is an answer for every size, and that of the step itself") {
  std::vector<float> params(parameter_count({.cell = "lstm", .inputs = 1, .hidden = 5, .outputs = 1}));
  const auto engine = make_engine({.cell = "lstm", .inputs = 1, .hidden = 5, .outputs = 1}, Dtype::f32, params.data());
  constexpr i64 top = std::numeric_limits<i64>::max();
  for (const bool norms : {false, true}) {
    i64 before = 0;
    for (i64 size = 1; size <= i64(1) << 21; size *= 8) {  // grows with the steps, of few sequences and of many
      const i64 needed = engine->memory_needed({.batch = size, .time = size, .norms = norms}, 0);
      CHECK(needed > before);
      CHECK(engine->minimum_memory({.batch = size, .time = size, .norms = norms}) <= needed);
      before = needed;
    }
    for (const auto& [batch, time] : {std::pair{top, top}, {top, i64(1)}, {i64(1), top}})
      CHECK(engine->memory_needed({.batch = batch, .time = time, .norms = norms}, 0) >= i64(1) << 55);
  }
  CHECK(engine->memory_needed({64, i64(1) << 20, 0, true}, 0) > engine->memory_needed({64, i64(1) << 20}, 0));
}

TEST_CASE("sizes of a plan without a plan") {
  for (const i64 batch : {1, 3, 64, 511, 512, 513, 2000})
    for (const i64 time : {1, 2, 7, 100, 1025})
      for (const i64 windows : {1, 2, 3, 5, 16, 100000}) {
        BatchPlan plan, sizes;
        plan.make(batch, time, nullptr, nullptr, 512);
        sizes.make_sizes(batch, time, 0, 512);
        plan.split_windows(windows);
        sizes.split_windows(windows);
        const std::string name = std::to_string(batch) + " x " + std::to_string(time) + " / " + std::to_string(windows);
        CHECK_MESSAGE(plan.rows == sizes.rows, name);
        CHECK_MESSAGE(plan.block_rows == sizes.block_rows, name);
        CHECK_MESSAGE(plan.block_count == sizes.block_count, name);
        CHECK_MESSAGE(plan.window_count == sizes.window_count, name);
        CHECK_MESSAGE(plan.window_rows == sizes.window_rows, name);
        CHECK_MESSAGE(plan.bytes() == sizes.bytes(), name);
      }
}

TEST_CASE("limits of control groups") {
  namespace fs = std::filesystem;
  const fs::path root = fs::temp_directory_path() / ("fastbptt-groups-" + std::to_string(std::random_device{}()));
  const auto write = [&](const std::string& file, const std::string& text) {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text << "\n";
  };
  constexpr i64 none = std::numeric_limits<i64>::max();
  const auto limit = [&] { return cgroup_memory_limit((root / "membership").string(), (root / "mount").string()); };
  CHECK(limit() == none);
  write("membership", "0::/a.slice/b.scope");
  write("mount/a.slice/b.scope/memory.max", "max");
  CHECK(limit() == none);
  write("mount/a.slice/memory.max", "5000000");  // of the group around it
  CHECK(limit() == 5000000);
  write("mount/a.slice/b.scope/memory.max", "4000000");
  CHECK(limit() == 4000000);
  write("membership", "4:cpu,cpuacct:/c\n7:memory:/d/e\nnonsense\n0::/");
  CHECK(limit() == none);
  write("mount/memory/d/memory.limit_in_bytes", "3000000");
  write("mount/memory/d/e/memory.limit_in_bytes", "9223372036854771712");
  CHECK(limit() == 3000000);
  write("membership", "0::/elsewhere");  // in a container: the group's own files are at the root
  write("mount/memory.max", "2000000");
  CHECK(limit() == 2000000);
  fs::remove_all(root);
}

namespace {

// What torch calls a module's parameters, in its layout, of a flat buffer of ours; and back
struct TorchLayout {
  explicit TorchLayout(const Spec& s) : spec(s), gates(cell_info(s.cell).gates) {
    for (i64 i = 0; i < s.state_rows(); ++i) {
      const i64 inputs = i < s.directions() ? s.inputs : s.width(), rows = gates * s.hidden;
      values.push_back({std::vector<float>(at(rows * inputs)), std::vector<float>(at(rows * s.hidden)),
                        std::vector<float>(at(rows)), std::vector<float>(at(rows))});
    }
  }

  // f(ours, theirs) for each number of ours; a GRU's b_hn is the last block of the second bias
  template <class F>
  void each(std::vector<float>& flat, const F& f) {
    const naive::Places places(spec);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto& d = places.directions[i];
      auto &input = values[i][0], &hidden = values[i][1], &input_bias = values[i][2], &hidden_bias = values[i][3];
      const i64 rows = gates * spec.hidden;
      for (i64 c = 0; c < rows; ++c) {
        for (i64 r = 0; r < d.inputs; ++r) f(flat[at(d.W_xh + r * rows + c)], input[at(c * d.inputs + r)]);
        for (i64 r = 0; r < spec.hidden; ++r) f(flat[at(d.W_hh + r * rows + c)], hidden[at(c * spec.hidden + r)]);
        f(flat[at(d.b_h + c)], input_bias[at(c)]);
      }
      for (i64 c = 0; d.b_hn >= 0 && c < spec.hidden; ++c)
        f(flat[at(d.b_hn + c)], hidden_bias[at(2 * spec.hidden + c)]);
    }
  }

  template <class P>
  std::vector<TorchWeights<P>> addresses() {
    std::vector<TorchWeights<P>> all;
    for (auto& v : values) all.push_back({v[0].data(), v[1].data(), v[2].data(), v[3].data()});
    return all;
  }

  Spec spec;
  i64 gates;
  std::vector<std::vector<std::vector<float>>> values;
};

}  // namespace

TEST_CASE("weights in torch's layout and packed rows give the same bits") {
  std::size_t turn = 0;
  for (const std::string cell : {"rnn", "relu", "gru", "lstm"})
    for (const bool both : {false, true})
      for_backends_in_turns(turn++, [&](const std::string& backend) {
        CAPTURE(backend);
        CAPTURE(cell);
        NetworkCase c;
        c.net.cell = cell;
        c.net.inputs = 5;
        c.net.hidden = 43;  // packed rows never lie along lanes, where sums of gradients have another order
        c.net.layers = 2;
        c.net.bidirectional = both;
        c.B = 4;
        c.T = 6;
        c.lengths = true;
        naive::Data data = naive::make_data(c, parameter_count(c.net), cell_info(cell).states);
        data.lengths = {6, 5, 5, 2};  // in the order of packed rows
        std::mt19937 random(1);
        for (double& value : data.x) value = std::normal_distribution<double>()(random);
        for (i64 i = 0; i < c.B * c.T * c.net.width(); ++i)
          data.d_outputs.push_back(std::normal_distribution<double>()(random));
        EngineCall<float> own(c, data);
        const auto tape = own.forward();
        Result<float> padded = own.backward(*tape);
        own.read(*tape, padded);

        TorchLayout weights(c.net), gradients(c.net);
        weights.each(own.params(), [](float ours, float& theirs) { theirs = ours; });
        const auto given = weights.addresses<const void>();
        auto wanted = gradients.addresses<void>();
        const i64 rows = 18, width = c.net.width();
        const auto pack = [&](const std::vector<float>& from, i64 columns, bool back, std::vector<float>& to) {
          for (i64 t = 0, row = 0; t < c.T; ++t)
            for (i64 b = 0; b < c.B && t < data.lengths[at(b)]; ++b, ++row)
              for (i64 j = 0; j < columns; ++j)
                back ? to[at((b * c.T + t) * columns + j)] = from[at(row * columns + j)]
                     : to[at(row * columns + j)] = from[at((b * c.T + t) * columns + j)];
        };
        std::vector<float> x(at(rows * c.net.inputs)), up(at(rows * width)), dx(x.size()), y(up.size());
        pack(naive::cast<float>(data.x), c.net.inputs, false, x);
        pack(naive::cast<float>(data.d_outputs), width, false, up);
        const auto array = [&](const std::vector<float>& a, i64 columns) {
          return Array{a.data(), Dtype::f32, {c.B, c.T, columns}, {4 * columns, 0, 4}};
        };
        const auto engine = make_engine(c.net, Dtype::f32, nullptr);
        Batch batch = own.batch;
        batch.x = array(x, c.net.inputs);
        batch.packed = true;
        batch.weights = given.data();
        batch.check_finite = false;
        const auto packed = engine->forward(batch);
        packed->hidden({y.data(), 0, width});
        OutputGradients from = own.output_gradients;
        from.outputs = array(up, width);
        Result<float> result = padded;
        GradientTargets to = own.targets(result);
        to.parameters = nullptr;
        to.weights = wanted.data();
        to.x = {dx.data(), 0, c.net.inputs};
        from.check_finite = false;
        engine->backward(*packed, from, to);
        gradients.each(result.params, [](float& ours, float theirs) { ours = theirs; });
        result.x.assign(padded.x.size(), 0);
        pack(dx, c.net.inputs, true, result.x);
        result.hidden.assign(padded.hidden.size(), 0);
        pack(y, width, true, result.hidden);
        CHECK(calls::same_bits(result, padded));
        std::vector<float> predicted(y.size());
        Predictions predictions;
        predictions.outputs.data = predicted.data();
        engine->predict(batch, predictions);
        CHECK(calls::same_bits(predicted, y));
      });
}
