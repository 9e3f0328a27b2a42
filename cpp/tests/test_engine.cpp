// The engine against plain loops, for every instruction set that the machine can run.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <string>

#include "dispatch.h"
#include "naive.h"
#include "pool.h"

using namespace fastbptt;
using naive::Case;

namespace {

// FASTBPTT_TEST_GRID=full: every shape that the documentation promises; else those up to 17 wide and 10 long
bool full_grid() {
  const char* text = std::getenv("FASTBPTT_TEST_GRID");
  return text && std::string(text) == "full";
}

std::vector<Case> grid() {
  const std::vector<i64> batches{1, 2, 5, 6, 7, 33};
  const std::vector<i64> times = full_grid() ? std::vector<i64>{1, 2, 10, 100} : std::vector<i64>{1, 2, 10};
  const std::vector<i64> sizes =
      full_grid() ? std::vector<i64>{1, 3, 16, 17, 63, 64, 65, 129} : std::vector<i64>{1, 3, 16, 17, 65};
  std::vector<Case> cases;
  for (const i64 B : batches)
    for (const i64 T : times)
      for (const i64 I : sizes)
        for (const i64 H : sizes) {
          const auto n = static_cast<unsigned>(cases.size());
          Case c;
          c.B = B;
          c.T = T;
          c.I = I;
          c.H = H;
          c.O = std::vector<i64>{1, 3, 0, 10, 17}[n % 5];
          c.bias = n % 7 != 0;
          c.lengths = n / 2 % 2;
          c.h0 = n / 3 % 2;
          c.loss = static_cast<Loss>(n / 4 % 3);
          c.steps = static_cast<Steps>(n / 5 % 2);
          c.reduction = static_cast<Reduction>(n / 7 % 3);
          c.seed = n + 1;
          if (c.loss == Loss::cross_entropy && (c.O == 1 || (c.O == 0 && H == 1))) c.loss = Loss::bce;
          cases.push_back(c);
        }
  return cases;
}

std::string text(const Case& c) {
  std::string s = "B" + std::to_string(c.B) + " T" + std::to_string(c.T) + " I" + std::to_string(c.I) + " H" +
                  std::to_string(c.H) + " O" + std::to_string(c.O) + " loss " + std::to_string(int(c.loss)) +
                  " steps " + std::to_string(int(c.steps)) + " reduction " + std::to_string(int(c.reduction));
  return s + (c.lengths ? " lengths" : "") + (c.h0 ? " h0" : "") + (c.bias ? "" : " no bias");
}

template <class F>
void for_backends(const F& f) {
  const std::string before = active().name;
  for (const Backend& b : backends()) {
    if (!b.usable) continue;
    use(b.name);
    f(std::string(b.name));
  }
  use(before);
}

}  // namespace

// In double each error is held to 1e-12. In float a single one says little: where a sum cancels, one of the two is
// lucky. So each is held to 1e-4, and their distribution over the grid to four times that of plain loops in float.
TEST_CASE("every instruction set computes the network's loss and gradients") {
  double worst64 = 0;
  std::vector<double> plain;
  std::map<std::string, std::vector<double>> single;
  for (const Case& c : grid()) {
    const auto data = naive::make_data(c);
    const auto expected = naive::loss_and_grad<double>(c, data);
    plain.push_back(naive::difference(naive::loss_and_grad<float>(c, data), expected));
    for_backends([&](const std::string& name) {
      const double d64 = naive::difference(naive::engine_loss_and_grad<double>(c, data), expected);
      CHECK(std::string(proof_of_backend()) == name);
      CHECK_MESSAGE(d64 < 1e-12, name, " ", text(c), ": ", d64);
      worst64 = std::max(worst64, d64);
      const double d32 = naive::difference(naive::engine_loss_and_grad<float>(c, data), expected);
      CHECK_MESSAGE(d32 < 1e-4, name, " ", text(c), ": ", d32);
      single[name].push_back(d32);
    });
  }
  MESSAGE(plain.size(), " cases, worst in double ", worst64);
  std::sort(plain.begin(), plain.end());
  for (auto& [name, got] : single) {
    std::sort(got.begin(), got.end());
    for (const double q : {0.5, 0.9, 0.99}) {
      const auto at = std::size_t(q * double(plain.size()));
      MESSAGE(name, " in float, quantile ", q, ": ", got[at] / plain[at], " times plain loops");
      CHECK(got[at] <= 4 * plain[at]);
    }
  }
}

TEST_CASE("the number of threads changes no bit") {
  for (const Case& c : {Case{33, 40, 17, 65, 3, true, true, true, Loss::cross_entropy, Steps::all, Reduction::mean, 5},
                        Case{64, 50, 32, 64, 1, true, false, false, Loss::bce, Steps::last, Reduction::mean, 6},
                        Case{1, 900, 16, 128, 2, true, false, true, Loss::mse, Steps::all, Reduction::sum, 7}}) {
    const auto data = naive::make_data(c);
    for_backends([&](const std::string& name) {
      set_num_threads(1);
      const auto one = naive::engine_loss_and_grad<float>(c, data);
      for (const int threads : {1, 2, 3}) {
        set_num_threads(threads);
        const auto more = naive::engine_loss_and_grad<float>(c, data);
        CHECK_MESSAGE(std::memcmp(&more.loss, &one.loss, sizeof one.loss) == 0, name, " ", threads);
        CHECK_MESSAGE(std::memcmp(more.params.data(), one.params.data(), one.params.size() * 4) == 0, name, " ",
                      threads);
        CHECK_MESSAGE(std::memcmp(more.x.data(), one.x.data(), one.x.size() * 4) == 0, name, " ", threads);
        CHECK_MESSAGE(std::memcmp(more.h0.data(), one.h0.data(), one.h0.size() * 4) == 0, name, " ", threads);
      }
    });
  }
  set_num_threads(default_threads());
}

TEST_CASE("values that are not finite are named, and nothing is updated") {
  float params[2 + 4 + 2 + 2 + 1] = {0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.6F, 0, 0, 0.7F, 0.8F, 0};
  float m[11] = {}, v[11] = {};
  float x[3] = {1, NAN, 3}, y[1] = {1};
  const auto engine = make_engine({"rnn", 1, 2, 1, true}, Dtype::f32, params);
  AdamState adam;
  adam.m = m;
  adam.v = v;
  Batch batch;
  batch.x = {x, Dtype::f32, {1, 3, 1}, {12, 4, 4}};
  Objective o;
  o.y = {y, Dtype::f32, {1, 1, 0}, {4, 4, 0}};
  std::vector<float> before(params, params + 11);
  CHECK_THROWS_WITH(engine->train_step(batch, o, adam, -1),
                    "x holds a value that is not finite (nan) at index (0, 1, 0)");
  x[1] = 2;
  params[3] = std::numeric_limits<float>::infinity();
  before[3] = params[3];
  CHECK_THROWS_WITH(engine->train_step(batch, o, adam, -1),
                    "parameter W_hh holds a value that is not finite (inf) at index (0, 1)");
  CHECK(std::memcmp(before.data(), params, sizeof params) == 0);
  CHECK(adam.step == 0);
  params[3] = 0.4F;
  CHECK(engine->train_step(batch, o, adam, 1) > 0);
  CHECK(adam.step == 1);
  CHECK(std::memcmp(before.data(), params, sizeof params) != 0);
}

TEST_CASE("sizes that overflow or exceed the memory are refused") {
  const i64 huge = i64(1) << 40;
  CHECK_THROWS_AS(layout({"rnn", huge, huge, 1, true}), std::length_error);
  CHECK_THROWS_AS(layout({"rnn", 0, 1, 1, true}), std::invalid_argument);
  CHECK_THROWS_WITH(find_cell("tree"), "cell is 'tree'; expected one of rnn");
}
