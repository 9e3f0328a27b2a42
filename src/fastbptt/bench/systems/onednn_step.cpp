// A training step with oneDNN's RNN primitives; oneDNN has neither losses for them nor Adam, so those are plain loops.
// Sizes: B batch, T time, I input, H hidden, O output, L layers, D directions. Arrays have time first. float32 only.
// Parameters are in oneDNN's own order: for each layer weights (D, I, G, H), (D, H, G, H), bias (D, biases, H) in its
// order of the gates; then W_hy (D * H, O), b_y (O).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>
#ifdef __SSE__
#include <immintrin.h>
#endif

namespace {

using dnnl::memory;
using dim = memory::dim;
using tag = memory::format_tag;
using Arguments = std::unordered_map<int, memory>;
using Direction = dnnl::rnn_direction;
const auto training = dnnl::prop_kind::forward_training, backward_kind = dnnl::prop_kind::backward;
enum Loss { BCE, CROSS_ENTROPY, MSE };

struct Cell {
  dim gates, biases;
};
enum CellKind { RNN, RELU, GRU, GRU_BEFORE, LSTM };
const Cell cells[] = {{1, 1}, {1, 1}, {3, 4}, {3, 3}, {4, 4}};

struct Move {
  dnnl::reorder reorder;
  memory from, to;
};

void execute(dnnl::stream& stream, std::vector<Move>& moves) {
  for (Move& move : moves) move.reorder.execute(stream, move.from, move.to);
}

struct Layer {
  const dnnl::engine& engine;
  const dim T, B, I, H, D;
  const Cell cell;
  float *weights, *gradients;
  memory x, dx, h, dh;  // input and output over time, and their gradients
  dnnl::primitive forward, backward;
  Arguments forth, back;
  std::vector<Move> before, between, after;  // reorders of weights, of weights for the way back, of gradients
  std::vector<memory> sums;                  // the primitive adds to these: zero before

  static dim count(Cell cell, dim I, dim H, dim D) { return D * H * (cell.gates * (I + H) + cell.biases); }

  Layer(const dnnl::engine& on, CellKind kind, dim time, dim batch, dim inputs, dim hidden, dim directions, memory in,
        memory d_in, float* theta, float* grad)
      : engine(on),
        T(time),
        B(batch),
        I(inputs),
        H(hidden),
        D(directions),
        cell(cells[kind]),
        weights(theta),
        gradients(grad),
        x(in),
        dx(d_in) {
    const auto f32 = memory::data_type::f32;
    const auto any = [&](dim rows) { return memory::desc({1, D, rows, cell.gates, H}, f32, tag::any); };
    const memory::desc in_desc = x.get_desc(), out({T, B, D * H}, f32, tag::tnc), none;
    const memory::desc w_x = any(I), w_h = any(H), b({1, D, cell.biases, H}, f32, tag::ldgo);
    // The initial state is handed over though it is zero: without it version 3.2 computes a wrong gradient of W_hh.
    const memory::desc state({1, D, B, H}, f32, tag::ldnc);
    const auto way = D == 2 ? Direction::bidirectional_concat : Direction::unidirectional_left2right;
    h = memory(out, engine);
    dh = memory(out, engine);
    if (kind == RNN || kind == RELU) {
      using Forward = dnnl::vanilla_rnn_forward;
      using Backward = dnnl::vanilla_rnn_backward;
      const auto function = kind == RNN ? dnnl::algorithm::eltwise_tanh : dnnl::algorithm::eltwise_relu;
      const Forward::primitive_desc fwd(engine, training, function, way, in_desc, state, w_x, w_h, b, out, none);
      const Backward::primitive_desc bwd(engine, backward_kind, function, way, in_desc, state, w_x, w_h, b, out, none,
                                         in_desc, state, w_x, w_h, b, out, none, fwd);
      connect<Forward, Backward>(fwd, bwd, state);
    } else if (kind == LSTM) {
      using Forward = dnnl::lstm_forward;
      using Backward = dnnl::lstm_backward;
      const Forward::primitive_desc fwd(engine, training, way, in_desc, state, state, w_x, w_h, b, out, none, none);
      const Backward::primitive_desc bwd(engine, backward_kind, way, in_desc, state, state, w_x, w_h, b, out, none,
                                         none, in_desc, state, state, w_x, w_h, b, out, none, none, fwd);
      connect<Forward, Backward>(fwd, bwd, state);
      const memory c = zeros(state);
      forth.insert({DNNL_ARG_SRC_ITER_C, c});
      back.insert({{DNNL_ARG_SRC_ITER_C, c}, {DNNL_ARG_DIFF_SRC_ITER_C, zeros(state)}});
    } else if (kind == GRU) {
      gated<dnnl::lbr_gru_forward, dnnl::lbr_gru_backward>(way, in_desc, state, w_x, w_h, b, out);
    } else {
      gated<dnnl::gru_forward, dnnl::gru_backward>(way, in_desc, state, w_x, w_h, b, out);
    }
  }

  template <class Forward, class Backward>
  void gated(Direction way, const memory::desc& in, const memory::desc& state, const memory::desc& w_x,
             const memory::desc& w_h, const memory::desc& b, const memory::desc& out) {
    const memory::desc none;
    const typename Forward::primitive_desc fwd(engine, training, way, in, state, w_x, w_h, b, out, none);
    const typename Backward::primitive_desc bwd(engine, backward_kind, way, in, state, w_x, w_h, b, out, none, in,
                                                state, w_x, w_h, b, out, none, fwd);
    connect<Forward, Backward>(fwd, bwd, state);
  }

  template <class Forward, class Backward>
  void connect(const typename Forward::primitive_desc& fwd, const typename Backward::primitive_desc& bwd,
               const memory::desc& state) {
    forward = Forward(fwd);
    backward = Backward(bwd);
    const dim w_h = D * cell.gates * H * I, b = w_h + D * cell.gates * H * H;
    const auto matrix = [&](float* data, dim rows) { return plain({1, D, rows, cell.gates, H}, tag::ldigo, data); };
    const memory W_x = matrix(weights, I), W_h = matrix(weights + w_h, H);
    const memory bias = plain({1, D, cell.biases, H}, tag::ldgo, weights + b);
    const memory workspace(fwd.workspace_desc(), engine), first = zeros(state);
    forth = {{DNNL_ARG_SRC_LAYER, x},
             {DNNL_ARG_SRC_ITER, first},
             {DNNL_ARG_WEIGHTS_LAYER, in_layout(fwd.weights_layer_desc(), W_x, before, true)},
             {DNNL_ARG_WEIGHTS_ITER, in_layout(fwd.weights_iter_desc(), W_h, before, true)},
             {DNNL_ARG_BIAS, bias},
             {DNNL_ARG_DST_LAYER, h},
             {DNNL_ARG_WORKSPACE, workspace}};
    const memory d_bias = plain({1, D, cell.biases, H}, tag::ldgo, gradients + b);
    sums = {in_layout(bwd.diff_weights_layer_desc(), matrix(gradients, I), after, false),
            in_layout(bwd.diff_weights_iter_desc(), matrix(gradients + w_h, H), after, false), d_bias};
    back = {{DNNL_ARG_SRC_LAYER, x},
            {DNNL_ARG_SRC_ITER, first},
            {DNNL_ARG_WEIGHTS_LAYER, in_layout(bwd.weights_layer_desc(), W_x, between, true)},
            {DNNL_ARG_WEIGHTS_ITER, in_layout(bwd.weights_iter_desc(), W_h, between, true)},
            {DNNL_ARG_BIAS, bias},
            {DNNL_ARG_DST_LAYER, h},
            {DNNL_ARG_WORKSPACE, workspace},
            {DNNL_ARG_DIFF_DST_LAYER, dh},
            {DNNL_ARG_DIFF_SRC_LAYER, dx},
            {DNNL_ARG_DIFF_SRC_ITER, zeros(state)},
            {DNNL_ARG_DIFF_WEIGHTS_LAYER, sums[0]},
            {DNNL_ARG_DIFF_WEIGHTS_ITER, sums[1]},
            {DNNL_ARG_DIFF_BIAS, d_bias}};
  }

  memory plain(const memory::dims& dims, tag order, float* data) {
    return {{dims, memory::data_type::f32, order}, engine, data};
  }

  memory zeros(const memory::desc& desc) {
    memory made(desc, engine);
    std::fill_n(static_cast<char*>(made.get_data_handle()), desc.get_size(), 0);
    return made;
  }

  memory in_layout(const memory::desc& desc, memory plain, std::vector<Move>& moves, bool inwards) {
    if (desc == plain.get_desc()) return plain;
    memory other(desc, engine);
    memory from = inwards ? plain : other, to = inwards ? other : plain;
    moves.push_back({dnnl::reorder(from, to), from, to});
    return other;
  }

  void go(dnnl::stream& stream) {
    execute(stream, before);
    forward.execute(stream, forth);
    execute(stream, between);
  }

  void go_back(dnnl::stream& stream) {
    for (memory& sum : sums) {
      float* data = static_cast<float*>(sum.get_data_handle());
      std::fill(data, data + sum.get_desc().get_size() / sizeof(float), 0.0f);
    }
    backward.execute(stream, back);
    execute(stream, after);
  }
};

struct Step {
  const dim B, T, I, H, O, L, D;
  const Loss kind;
  const bool all;
  const float rate;
  const dim rows, width;  // of the readout
  std::vector<float> x, y, weights;
  std::vector<std::int64_t> classes, last;
  std::vector<float> theta, grad, m, v, seen, outputs, d_outputs, d_seen;
  long count = 0;

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::deque<Layer> layers;
  float *hidden = nullptr, *d_hidden = nullptr;

  Step(const dim* size, CellKind cell, Loss loss, bool all_steps, float lr, const float* params, const float* inputs,
       const float* targets, const std::int64_t* labels, const float* step_weights, const std::int64_t* lasts)
      : B(size[0]),
        T(size[1]),
        I(size[2]),
        H(size[3]),
        O(size[4]),
        L(size[5]),
        D(size[6]),
        kind(loss),
        all(all_steps),
        rate(lr),
        rows(all_steps ? T * B : B),
        width(D * H),
        x(inputs, inputs + T * B * I),
        weights(step_weights, step_weights + rows),
        last(lasts, lasts + B),
        theta(params, params + size[7]),
        grad(theta.size()),
        m(theta.size()),
        v(theta.size()),
        seen(all_steps ? 0 : B * width),
        outputs(rows * O),
        d_outputs(rows * O),
        d_seen(all_steps ? 0 : B * width) {
    if (targets) y.assign(targets, targets + rows * O);
    if (labels) classes.assign(labels, labels + rows);
    const memory::desc in({T, B, I}, memory::data_type::f32, tag::tnc);
    memory below(in, engine, x.data()), d_below(in, engine);
    dim at = 0, inputs_here = I;
    for (dim l = 0; l < L; ++l) {
      layers.emplace_back(engine, cell, T, B, inputs_here, H, D, below, d_below, theta.data() + at, grad.data() + at);
      below = layers.back().h;
      d_below = layers.back().dh;
      at += Layer::count(cells[cell], inputs_here, H, D);
      inputs_here = width;
    }
    hidden = static_cast<float*>(below.get_data_handle());
    d_hidden = static_cast<float*>(d_below.get_data_handle());
    std::fill(d_hidden, d_hidden + T * B * width, 0.0f);  // with the loss at the last steps, the others stay zero
  }

  float* W_hy() { return theta.data() + theta.size() - O - width * O; }
  float* gradient(const float* parameter) { return grad.data() + (parameter - theta.data()); }

  // Where a sequence's final states stand: the reverse direction ends at the first step.
  dim row(dim b, dim direction) { return ((direction ? 0 : last[b]) * B + b) * width + direction * H; }

  // The mean loss; d_outputs becomes its gradient.
  double loss() {
    double total = 0;
    const float part = 1.0f / float(O);
    for (dim r = 0; r < rows; ++r) {
      const float* z = &outputs[r * O];
      float* dz = &d_outputs[r * O];
      const float weight = weights[r];
      if (kind == CROSS_ENTROPY) {
        const float top = *std::max_element(z, z + O);
        float sum = 0;
        for (dim o = 0; o < O; ++o) sum += dz[o] = std::exp(z[o] - top);
        for (dim o = 0; o < O; ++o) dz[o] *= weight / sum;
        dz[classes[r]] -= weight;
        total += weight * (std::log(sum) + top - z[classes[r]]);
        continue;
      }
      for (dim o = 0; o < O; ++o) {
        const float target = y[r * O + o];
        if (kind == MSE) {
          total += weight * part * (z[o] - target) * (z[o] - target);
          dz[o] = 2 * weight * part * (z[o] - target);
        } else {
          const float power = std::exp(-std::fabs(z[o]));
          total += weight * part * (std::max(z[o], 0.0f) + std::log1p(power) - target * z[o]);
          dz[o] = weight * part * ((z[o] >= 0 ? 1 : power) / (1 + power) - target);
        }
      }
    }
    return total;
  }

  double gradients() {
    for (Layer& layer : layers) layer.go(stream);
    stream.wait();
    float* states = hidden;
    float* d_states = d_hidden;
    if (!all) {
      for (dim b = 0; b < B; ++b)
        for (dim d = 0; d < D; ++d) std::copy_n(hidden + row(b, d), H, &seen[b * width + d * H]);
      states = seen.data();
      d_states = d_seen.data();
    }
    const float* b_y = W_hy() + width * O;
    for (dim r = 0; r < rows; ++r) std::copy_n(b_y, O, &outputs[r * O]);
    dnnl_sgemm('N', 'N', rows, O, width, 1, states, width, W_hy(), O, 1, outputs.data(), O);
    const double value = loss();
    float* db_y = gradient(b_y);
    std::fill(db_y, db_y + O, 0.0f);
    for (dim r = 0; r < rows; ++r)
      for (dim o = 0; o < O; ++o) db_y[o] += d_outputs[r * O + o];
    dnnl_sgemm('T', 'N', width, O, rows, 1, states, width, d_outputs.data(), O, 0, gradient(W_hy()), O);
    dnnl_sgemm('N', 'T', rows, width, O, 1, d_outputs.data(), O, W_hy(), O, 0, d_states, width);
    if (!all)
      for (dim b = 0; b < B; ++b)
        for (dim d = 0; d < D; ++d) std::copy_n(&d_seen[b * width + d * H], H, d_hidden + row(b, d));
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) layer->go_back(stream);
    stream.wait();
    return value;
  }

  void adam() {
    ++count;
    const float alpha = float(rate / (1 - std::pow(0.9, count)));
    const float root = float(1 / std::sqrt(1 - std::pow(0.999, count)));
    const std::size_t size = theta.size();
#pragma omp parallel for simd
    for (std::size_t i = 0; i < size; ++i) {
      m[i] = 0.9f * m[i] + 0.1f * grad[i];
      v[i] = 0.999f * v[i] + 0.001f * grad[i] * grad[i];
      theta[i] -= alpha * m[i] / (std::sqrt(v[i]) * root + 1e-8f);
    }
  }
};

}  // namespace

extern "C" {

// Never freed: the process ends with it. Null, and a message on standard error, if oneDNN refuses.
void* step_create(const std::int64_t* size, int cell, int loss, int all, float rate, const float* params,
                  const float* x, const float* y, const std::int64_t* classes, const float* weights,
                  const std::int64_t* last) try {
#ifdef __SSE__
  _mm_setcsr(_mm_getcsr() | 0x8040);  // denormals flushed, in favour of oneDNN
#endif
  return new Step(size, CellKind(cell), Loss(loss), all != 0, rate, params, x, y, classes, weights, last);
} catch (const dnnl::error& error) {
  std::fprintf(stderr, "oneDNN: %s\n", error.what());
  return nullptr;
}

double step_gradients(void* step, float* gradients) {
  Step& s = *static_cast<Step*>(step);
  const double loss = s.gradients();
  std::copy(s.grad.begin(), s.grad.end(), gradients);
  return loss;
}

void step_run(void* step, std::int64_t steps) {
  Step& s = *static_cast<Step*>(step);
  for (std::int64_t i = 0; i < steps; ++i) {
    s.gradients();
    s.adam();
  }
}

const char* step_version() {
  static char text[32];
  const dnnl_version_t* version = dnnl_version();
  std::snprintf(text, sizeof text, "%d.%d.%d", version->major, version->minor, version->patch);
  return text;
}
}
