// Readers beside a writer: each sees the weights between two updates. Builds with the thread sanitizer see every access
// without a lock, whatever it reads.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "calls.h"

using namespace fastbptt;
using naive::at;

namespace {

// All weights are one number, and each update adds one to all of them; so all units of a layer are alike.
struct Shared {
  static constexpr i64 inputs = 64, hidden = 192, tokens = 48, batch = 2, time = 3000;
  explicit Shared(const char* cell = "relu", i64 vocabulary = 0) {
    spec.cell = cell;
    spec.inputs = inputs;
    spec.hidden = hidden;
    spec.vocabulary = vocabulary;
    params.assign(at(parameter_count(spec)), 1.0f);
    gradient.assign(params.size(), -1.0f);
    engine = make_engine(spec, Dtype::f32, params.data());
    optimizer.set("lr", 1.0);
    x.assign(at(batch * inputs), 1.0f);
    many.assign(at(batch * time), 1);
    y.assign(at(batch * hidden), 0.0f);
  }
  Batch one() const {
    Batch b;
    b.x = calls::array(x.data(), Dtype::f32, batch, 1, inputs);
    return b;
  }
  Batch of_tokens() const {
    Batch b;
    b.x = calls::array(many.data(), Dtype::i64, batch, time);
    return b;
  }
  Objective objective() const {
    Objective o;
    o.blocks = {{.loss = &loss, .y = calls::array(y.data(), Dtype::f32, batch, hidden)}};
    return o;
  }

  Spec spec;
  std::vector<float> params, gradient, x, y;
  std::vector<i64> many;
  std::unique_ptr<Engine> engine;
  OptimizerState optimizer{"sgd"};
  Loss loss{"mse"};
};

bool alike(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; });
}

// Calls read so many times while another thread writes
void beside(const std::function<void()>& write, const std::function<void()>& read, int count = 200) {
  std::atomic<bool> over{false};
  std::thread writer([&] {
    while (!over) write();
  });
  for (int i = 0; i < count; i += static_cast<int>(calls::one_in())) read();
  over = true;
  writer.join();
}

}  // namespace

TEST_CASE("readers see the weights of one update") {
  Shared s;
  int updates = 0;
  const auto write = [&] {
    if (++updates % 512 == 0)  // there and back, so that numbers stay whole
      for (float& g : s.gradient) g = -g;
    s.engine->update({&s.optimizer, {}}, s.gradient.data(), true);
  };
  std::vector<float> seen(s.params.size());
  SUBCASE("all weights") {
    beside(write, [&] {
      s.engine->get_params(seen.data());
      CHECK(alike(seen));
    });
  }
  SUBCASE("a step") {
    std::vector<float> state(at(Shared::batch * Shared::hidden));
    seen.resize(state.size());
    beside(
        write,
        [&] {
          std::fill(state.begin(), state.end(), 0.0f);
          void* states[CellInfo::most_states] = {state.data()};
          s.engine->step(calls::array(s.x.data(), Dtype::f32, Shared::batch, Shared::inputs), states, seen.data(),
                         true);
          CHECK(alike(seen));
        },
        4000);
  }
  SUBCASE("a forward pass") {
    seen.resize(at(Shared::batch * Shared::hidden));
    beside(write, [&] {
      s.engine->forward(s.one())->last(seen.data());
      CHECK(alike(seen));
    });
  }
  SUBCASE("a gradient") {
    beside(write, [&] {
      GradientTargets out;
      out.parameters = seen.data();
      s.engine->loss_and_grad(s.one(), s.objective(), out, {}, 0);
      const std::vector<float> bias(seen.end() - Shared::hidden, seen.end());
      CHECK(alike(bias));
    });
  }
}

TEST_CASE("what is frozen while another thread updates is frozen from one update on") {
  Shared s;
  std::vector<float> before(s.params.size()), after(s.params.size());
  beside(
      [&] {
        s.engine->update({&s.optimizer, {}}, s.gradient.data(), true);
      },
      [&] {
        s.engine->freeze({"W_hh"});
        s.engine->get_params(before.data());
        s.engine->get_params(after.data());
        for (const Parameter& p : layout(s.spec))
          if (p.name == "W_hh") CHECK(before[at(p.offset)] == after[at(p.offset)]);
        s.engine->freeze({});
      },
      200);
}

TEST_CASE("windows of a memory budget read the embedding of one update") {
  Shared s("rnn", Shared::tokens);
  std::vector<float> gradient(s.params.size());
  const i64 budget = s.engine->minimum_memory({Shared::batch, Shared::time});
  beside(
      [&] {
        s.engine->update({&s.optimizer, {}}, s.gradient.data(), true);
      },
      [&] {
        GradientTargets out;
        out.parameters = gradient.data();
        Batch batch = s.of_tokens();
        batch.check_finite = false;
        s.engine->loss_and_grad(batch, s.objective(), out, {}, budget);
        CHECK(s.engine->report().segments > 1);
      },
      8);
}
