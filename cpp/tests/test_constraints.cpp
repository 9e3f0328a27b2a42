// Constraints and penalties of the engine, against arithmetic that is written out here.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "engine.h"
#include "errors.h"

using namespace fastbptt;

namespace {

struct Small {
  Small() : params(size_t(parameter_count(spec()))), velocity(params.size()) {
    for (std::size_t i = 0; i < params.size(); ++i) params[i] = 0.1 + 0.01 * double(i);
    engine = make_engine(spec(), Dtype::f64, params.data());
    sgd.set("lr", 1);
    sgd.set("momentum", 0.5);
    sgd.attach("velocity", velocity.data());
  }
  static Spec spec() {
    Spec s;
    s.cell = "rnn";
    s.inputs = 2;
    s.hidden = 3;
    s.bias = false;
    return s;
  }
  void step(double gradient) {
    const std::vector<double> g(params.size(), gradient);
    engine->update({&sgd, {}}, g.data(), true);
  }

  std::vector<double> params, velocity;
  std::unique_ptr<Engine> engine;
  OptimizerState sgd{"sgd"};
};

}  // namespace

TEST_CASE("signs are kept, by clipping or by reflection") {
  for (const bool reflect : {false, true}) {
    Small s;
    ConstraintSpec c;
    c.signs.assign(s.params.size(), ConstraintSpec::any);
    c.signs[0] = ConstraintSpec::positive;
    c.signs[1] = ConstraintSpec::zero;
    c.reflect = reflect;
    s.engine->constrain(c);
    CHECK_THROWS_AS(s.engine->check_constraints(), ArgumentError);
    CHECK_THROWS_AS(s.step(1), ArgumentError);
    CHECK(s.sgd.step == 0);
    s.engine->project(true);
    CHECK(s.params[1] == 0);
    s.step(0.25);
    CHECK(s.params[0] == doctest::Approx(reflect ? 0.15 : 0));
    CHECK(s.velocity[0] == (reflect ? -0.25 : 0.25));
    CHECK(s.params[1] == 0);
    CHECK(s.velocity[1] == 0);
    CHECK(s.params[2] == doctest::Approx(0.12 - 0.25));
  }
}

TEST_CASE("columns are scaled to the largest norm") {
  Small s;
  ConstraintSpec c;
  c.norms.push_back({0, 2, 3, 0.2});
  s.engine->constrain(c);
  const std::vector<double> before = s.params;
  s.engine->project(false);
  for (std::size_t column = 0; column < 3; ++column) {
    const double norm = std::hypot(before[column], before[3 + column]);
    CHECK(s.params[column] == doctest::Approx(norm > 0.2 ? before[column] * 0.2 / norm : before[column]));
  }
  CHECK(s.params[6] == before[6]);
  s.step(-0.5);
  for (std::size_t column = 0; column < 3; ++column)
    CHECK(std::hypot(s.params[column], s.params[3 + column]) == doctest::Approx(0.2));
}

TEST_CASE("constraints that do not fit are refused") {
  Small s;
  ConstraintSpec c;
  c.signs.assign(2, ConstraintSpec::zero);
  CHECK_THROWS_AS(s.engine->constrain(c), ArgumentError);
  c.signs.clear();
  c.norms.push_back({10, 3, 3, 1});
  CHECK_THROWS_AS(s.engine->constrain(c), ArgumentError);
}
