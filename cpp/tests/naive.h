// Recurrent networks written out: sequence by sequence, step by step, and the chain rule operation by operation. What
// the engine is compared with where there is no Python; it shares nothing with the engine but the words of its
// interface.
#ifndef FASTBPTT_TESTS_NAIVE_H
#define FASTBPTT_TESTS_NAIVE_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine.h"

namespace naive {

using fastbptt::i64;
using fastbptt::Reduction;
using fastbptt::Spec;
using fastbptt::Steps;

inline std::size_t at(i64 i) { return static_cast<std::size_t>(i); }

// ------------------------------------------------------------------------------------------------- the chain rule

// Numbers, and the derivatives of the loss with respect to them
template <class R>
struct Vector {
  std::vector<R> a, d;
  i64 size() const { return static_cast<i64>(a.size()); }
};

// Vectors that are computed from one another. Those that come from outside outlive the graph.
template <class R>
class Graph {
 public:
  using V = Vector<R>*;

  V leaf(std::vector<R> a) {
    std::vector<R> d(a.size(), R(0));
    made_.push_back({std::move(a), std::move(d)});
    return &made_.back();
  }
  V zeros(i64 n) { return leaf(std::vector<R>(at(n), R(0))); }

  // n elements from one on
  V part(V x, i64 from, i64 n) {
    const V y = leaf({x->a.begin() + from, x->a.begin() + from + n});
    back_.push_back([=] {
      for (i64 j = 0; j < n; ++j) x->d[at(from + j)] += y->d[at(j)];
    });
    return y;
  }

  V picked(V x, const std::vector<i64>& places) {
    const V y = zeros(static_cast<i64>(places.size()));
    for (i64 j = 0; j < y->size(); ++j) y->a[at(j)] = x->a[at(places[at(j)])];
    back_.push_back([=] {
      for (i64 j = 0; j < y->size(); ++j) x->d[at(places[at(j)])] += y->d[at(j)];
    });
    return y;
  }

  V joined(V x, V y) {
    const V z = zeros(0);
    for (const V v : {x, y}) {
      z->a.insert(z->a.end(), v->a.begin(), v->a.end());
      z->d.resize(z->a.size(), R(0));
    }
    back_.push_back([=] {
      for (i64 j = 0; j < z->size(); ++j) (j < x->size() ? x->d[at(j)] : y->d[at(j - x->size())]) += z->d[at(j)];
    });
    return z;
  }

  // x times n columns of a matrix in w: row i starts at from + i * ld
  V product(V x, V w, i64 from, i64 ld, i64 n) {
    const V y = zeros(n);
    for (i64 i = 0; i < x->size(); ++i) {
      const R* row = &w->a[at(from + i * ld)];
      for (i64 j = 0; j < n; ++j) y->a[at(j)] += x->a[at(i)] * row[j];
    }
    back_.push_back([=] {
      for (i64 i = 0; i < x->size(); ++i) {
        const R* row = &w->a[at(from + i * ld)];
        R* d_row = &w->d[at(from + i * ld)];
        R sum = 0;
        for (i64 j = 0; j < n; ++j) sum += y->d[at(j)] * row[j];
        for (i64 j = 0; j < n; ++j) d_row[j] += y->d[at(j)] * x->a[at(i)];
        x->d[at(i)] += sum;
      }
    });
    return y;
  }

  V sum(V x, V y) {
    const V z = zeros(x->size());
    for (i64 j = 0; j < z->size(); ++j) z->a[at(j)] = x->a[at(j)] + y->a[at(j)];
    back_.push_back([=] {
      for (i64 j = 0; j < z->size(); ++j) {
        x->d[at(j)] += z->d[at(j)];
        y->d[at(j)] += z->d[at(j)];
      }
    });
    return z;
  }

  // element by element
  V times(V x, V y) {
    const V z = zeros(x->size());
    for (i64 j = 0; j < z->size(); ++j) z->a[at(j)] = x->a[at(j)] * y->a[at(j)];
    back_.push_back([=] {
      for (i64 j = 0; j < z->size(); ++j) {
        x->d[at(j)] += z->d[at(j)] * y->a[at(j)];
        y->d[at(j)] += z->d[at(j)] * x->a[at(j)];
      }
    });
    return z;
  }

  // f of each element; slope: its derivative as a function of f
  template <class F, class S>
  V map(V x, const F& f, const S& slope) {
    const V y = zeros(x->size());
    for (i64 j = 0; j < y->size(); ++j) y->a[at(j)] = f(x->a[at(j)]);
    back_.push_back([=] {
      for (i64 j = 0; j < y->size(); ++j) x->d[at(j)] += y->d[at(j)] * slope(y->a[at(j)]);
    });
    return y;
  }
  V tanh(V x) {
    return map(
        x, [](R a) { return std::tanh(a); }, [](R y) { return 1 - y * y; });
  }
  V sigmoid(V x) {
    return map(
        x, [](R a) { return R(1) / (R(1) + std::exp(-a)); }, [](R y) { return y * (1 - y); });
  }
  V relu(V x) {
    for (const R a : x->a)
      if (a != 0) kink = std::min(kink, std::fabs(double(a)));
    return map(
        x, [](R a) { return a > 0 ? a : R(0); }, [](R y) { return R(y > 0); });
  }
  V softplus(V x) {
    return map(
        x, [](R a) { return std::max(a, R(0)) + std::log1p(std::exp(-std::fabs(a))); },
        [](R y) { return -std::expm1(-y); });
  }
  V one_minus(V x) {
    return map(
        x, [](R a) { return 1 - a; }, [](R) { return R(-1); });
  }
  V scaled(V x, R s) {
    return map(
        x, [s](R a) { return s * a; }, [s](R) { return s; });
  }

  void backward() {
    for (auto f = back_.rbegin(); f != back_.rend(); ++f) (*f)();
  }

  double kink = HUGE_VAL;  // the closest that relu came to where it has no derivative

 private:
  std::deque<Vector<R>> made_;
  std::vector<std::function<void()>> back_;
};

struct Kind {
  std::string name;
  i64 gates, states;
  bool extra_bias;
  i64 given = 0;  // the first state that a caller gives
};

const std::vector<Kind>& kinds();
const std::vector<Kind>& structures();  // some of them: of those that differ in their nonlinearity alone, one
std::vector<std::string> structure_names();
// Numbers for a cell that has one, of each unit another, which of layers of some sizes are learned
void give_setting(Spec& s, double number);
const Kind& kind(const std::string& cell);  // throws std::invalid_argument if it is not known here

template <class R>
using Recur = std::type_identity_t<std::function<Vector<R>*(Vector<R>*, i64)>>;

// What a cell's units show of a sum: the function at the end of its name, or tanh
template <class R>
Vector<R>* rates(Graph<R>& g, const std::string& cell, Vector<R>* a);

// One step, from the states before to those after. a[k]: block k of x W_xh + b_h; recur(h, k): h times block k of W_hh,
// with b_hn if the cell has that.
template <class R>
std::vector<Vector<R>*> step(Graph<R>& g, const std::string& cell, Vector<R>* setting, const std::vector<Vector<R>*>& a,
                             const std::vector<Vector<R>*>& before, const Recur<R>& recur);

// ----------------------------------------------------------------------------------------------------- the network

struct NetworkCase {
  Spec net;
  i64 B = 1, T = 1;
  bool lengths = false, initial = false, weighted = false;
  bool drop = false;  // a training pass, with the net's dropout and noise
  std::string loss = "mse";
  Steps steps = Steps::last;
  Reduction reduction = Reduction::mean;
  unsigned seed = 1;
};

struct Data {
  std::vector<double> params, x, initial[2], static_inputs, y, sample_weight;
  std::vector<i64> tokens, classes, lengths;
  std::uint64_t dropout_seed = 0, noise_seed = 0;
  std::vector<double> d_outputs, d_last, d_hidden, d_final[2];  // if one is there: gradients instead of a loss's
};

// Places in the flat buffer; -1: not there
struct Places {
  struct Direction {
    i64 inputs, W_xh, W_hh, N_hh, M_hh, b_h, b_hn, logit;
  };
  std::vector<Direction> directions;
  i64 initial[2] = {-1, -1}, static_map[2] = {-1, -1}, W_hy = -1, b_y = -1, E = -1, count = 0;

  explicit Places(const Spec& s);
};

template <class R>
struct Result {
  double loss = 0;
  std::vector<R> outputs, hidden, last, final[2];
  std::vector<R> d_outputs, d_last;      // what entered
  std::vector<R> params, x, initial[2];  // gradients; those of the initial states for each sequence
  // gradients of each step: of its h (directions, B, T, H), of the sums of its gates (directions, gates, B, T, H); and
  // its states (directions, states, B, T, H)
  std::vector<R> d_hidden, d_gates, states;
  double kink = HUGE_VAL;
};

template <class R>
std::vector<R> cast(const std::vector<double>& a) {
  return std::vector<R>(a.begin(), a.end());
}

const std::vector<std::string>& losses();

// The loss of one step with outputs z, and its derivative. Throws std::invalid_argument if it is not known here.
template <class R>
double step_loss(const std::string& loss, const std::vector<R>& z, const R* y, i64 target, double factor, R* dz);

// Outputs, loss and gradients
template <class R>
Result<R> network(const NetworkCase& c, const Data& given);

// Values that are exact in float, so that every number type starts from the same; what must not be read is NaN, or a
// token or class that does not exist
Data make_data(const NetworkCase& c, i64 parameters, i64 states);
Data make_data(const NetworkCase& c);

}  // namespace naive

#endif
