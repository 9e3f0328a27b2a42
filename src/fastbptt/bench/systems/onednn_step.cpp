// A training step with oneDNN's RNN primitive; oneDNN has neither losses for it nor Adam, so those are plain loops.
// Sizes: B batch, T time, I input, H hidden, O output. Arrays have time first. float32 only.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>
#ifdef __SSE__
#include <immintrin.h>
#endif

namespace {

using dnnl::memory;
using dim = memory::dim;
using Arguments = std::unordered_map<int, memory>;
enum Loss { BCE, CROSS_ENTROPY, MSE };

struct Step {
  const dim B, T, I, H, O;
  const Loss kind;
  const bool all;
  const float rate;
  const dim rows;  // of the readout
  std::vector<float> x, y, weights;
  std::vector<std::int64_t> classes, last;
  std::vector<float> theta, grad, m, v, seen, outputs, d_outputs, d_seen;
  long count = 0;

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::vanilla_rnn_forward forward;
  dnnl::vanilla_rnn_backward backward;
  struct Move {
    dnnl::reorder reorder;
    memory from, to;
  };
  std::vector<Move> before, between, after;  // reorders of weights, of weights for the way back, of gradients
  std::vector<memory> sums;                  // the primitive adds to these: zero before
  Arguments forth, back;
  float *hidden = nullptr, *d_hidden = nullptr;

  Step(const dim* size, Loss loss, bool all_steps, float lr, const float* params, const float* inputs,
       const float* targets, const std::int64_t* labels, const float* step_weights, const std::int64_t* lasts)
      : B(size[0]),
        T(size[1]),
        I(size[2]),
        H(size[3]),
        O(size[4]),
        kind(loss),
        all(all_steps),
        rate(lr),
        rows(all_steps ? T * B : B),
        x(inputs, inputs + T * B * I),
        weights(step_weights, step_weights + rows),
        last(lasts, lasts + B),
        theta(params, params + I * H + H * H + H + H * O + O),
        grad(theta.size()),
        m(theta.size()),
        v(theta.size()),
        seen(all_steps ? 0 : B * H),
        outputs(rows * O),
        d_outputs(rows * O),
        d_seen(all_steps ? 0 : B * H) {
    if (targets) y.assign(targets, targets + rows * O);
    if (labels) classes.assign(labels, labels + rows);
    build();
  }

  float* W_hh() { return theta.data() + I * H; }
  float* W_hy() { return W_hh() + H * H + H; }
  float* gradient(const float* parameter) { return grad.data() + (parameter - theta.data()); }

  memory plain(const memory::dims& dims, memory::format_tag tag, float* data) {
    return {{dims, memory::data_type::f32, tag}, engine, data};
  }

  memory in_layout(const memory::desc& desc, memory plain, std::vector<Move>& moves, bool inwards) {
    if (desc == plain.get_desc()) return plain;
    memory other(desc, engine);
    memory from = inwards ? plain : other, to = inwards ? other : plain;
    moves.push_back({dnnl::reorder(from, to), from, to});
    return other;
  }

  void build() {
    using tag = memory::format_tag;
    const auto f32 = memory::data_type::f32;
    const memory::dims w_in{1, 1, I, 1, H}, w_rec{1, 1, H, 1, H}, bias{1, 1, 1, H}, in{T, B, I}, out{T, B, H};
    const memory::dims state{1, 1, B, H};
    const auto any = [&](const memory::dims& dims) { return memory::desc(dims, f32, tag::any); };
    const memory::desc x_desc(in, f32, tag::tnc), h_desc(out, f32, tag::tnc), b_desc(bias, f32, tag::ldgo), none;
    // The initial state is handed over though it is zero: without it version 3.2 computes a wrong gradient of W_hh.
    const memory::desc s_desc(state, f32, tag::ldnc);
    const auto tanh = dnnl::algorithm::eltwise_tanh;
    const auto way = dnnl::rnn_direction::unidirectional_left2right;
    const dnnl::vanilla_rnn_forward::primitive_desc fwd(engine, dnnl::prop_kind::forward_training, tanh, way, x_desc,
                                                        s_desc, any(w_in), any(w_rec), b_desc, h_desc, none);
    const dnnl::vanilla_rnn_backward::primitive_desc bwd(engine, dnnl::prop_kind::backward, tanh, way, x_desc, s_desc,
                                                         any(w_in), any(w_rec), b_desc, h_desc, none, x_desc, s_desc,
                                                         any(w_in), any(w_rec), b_desc, h_desc, none, fwd);
    forward = dnnl::vanilla_rnn_forward(fwd);
    backward = dnnl::vanilla_rnn_backward(bwd);

    const memory W_in = plain(w_in, tag::ldigo, theta.data()), W_rec = plain(w_rec, tag::ldigo, W_hh());
    const memory b = plain(bias, tag::ldgo, W_hh() + H * H), dst(h_desc, engine), d_dst(h_desc, engine);
    const memory workspace(fwd.workspace_desc(), engine), input(x_desc, engine, x.data());
    const memory first(s_desc, engine);
    std::fill_n(static_cast<float*>(first.get_data_handle()), B * H, 0.0f);
    forth = {{DNNL_ARG_SRC_LAYER, input},
             {DNNL_ARG_SRC_ITER, first},
             {DNNL_ARG_WEIGHTS_LAYER, in_layout(fwd.weights_layer_desc(), W_in, before, true)},
             {DNNL_ARG_WEIGHTS_ITER, in_layout(fwd.weights_iter_desc(), W_rec, before, true)},
             {DNNL_ARG_BIAS, b},
             {DNNL_ARG_DST_LAYER, dst},
             {DNNL_ARG_WORKSPACE, workspace}};

    const memory dW_in = plain(w_in, tag::ldigo, grad.data()), dW_rec = plain(w_rec, tag::ldigo, gradient(W_hh()));
    const memory db = plain(bias, tag::ldgo, gradient(W_hh() + H * H));
    sums = {in_layout(bwd.diff_weights_layer_desc(), dW_in, after, false),
            in_layout(bwd.diff_weights_iter_desc(), dW_rec, after, false), db};
    back = {{DNNL_ARG_SRC_LAYER, input},
            {DNNL_ARG_SRC_ITER, first},
            {DNNL_ARG_WEIGHTS_LAYER, in_layout(bwd.weights_layer_desc(), W_in, between, true)},
            {DNNL_ARG_WEIGHTS_ITER, in_layout(bwd.weights_iter_desc(), W_rec, between, true)},
            {DNNL_ARG_BIAS, b},
            {DNNL_ARG_DST_LAYER, dst},
            {DNNL_ARG_WORKSPACE, workspace},
            {DNNL_ARG_DIFF_DST_LAYER, d_dst},
            {DNNL_ARG_DIFF_SRC_LAYER, memory(x_desc, engine)},
            {DNNL_ARG_DIFF_SRC_ITER, memory(s_desc, engine)},
            {DNNL_ARG_DIFF_WEIGHTS_LAYER, sums[0]},
            {DNNL_ARG_DIFF_WEIGHTS_ITER, sums[1]},
            {DNNL_ARG_DIFF_BIAS, db}};
    hidden = static_cast<float*>(dst.get_data_handle());
    d_hidden = static_cast<float*>(d_dst.get_data_handle());
    std::fill(d_hidden, d_hidden + T * B * H, 0.0f);  // with the loss at the last steps, the others stay zero
  }

  void execute(std::vector<Move>& moves) {
    for (Move& move : moves) move.reorder.execute(stream, move.from, move.to);
  }

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
    execute(before);
    forward.execute(stream, forth);
    execute(between);
    stream.wait();
    float* states = hidden;
    float* d_states = d_hidden;
    if (!all) {
      for (dim b = 0; b < B; ++b) std::copy_n(hidden + (last[b] * B + b) * H, H, &seen[b * H]);
      states = seen.data();
      d_states = d_seen.data();
    }
    const float* b_y = W_hy() + H * O;
    for (dim r = 0; r < rows; ++r) std::copy_n(b_y, O, &outputs[r * O]);
    dnnl_sgemm('N', 'N', rows, O, H, 1, states, H, W_hy(), O, 1, outputs.data(), O);
    const double value = loss();
    float* db_y = gradient(b_y);
    std::fill(db_y, db_y + O, 0.0f);
    for (dim r = 0; r < rows; ++r)
      for (dim o = 0; o < O; ++o) db_y[o] += d_outputs[r * O + o];
    dnnl_sgemm('T', 'N', H, O, rows, 1, states, H, d_outputs.data(), O, 0, gradient(W_hy()), O);
    dnnl_sgemm('N', 'T', rows, H, O, 1, d_outputs.data(), O, W_hy(), O, 0, d_states, H);
    if (!all)
      for (dim b = 0; b < B; ++b) std::copy_n(&d_seen[b * H], H, d_hidden + (last[b] * B + b) * H);
    for (memory& sum : sums) {
      float* data = static_cast<float*>(sum.get_data_handle());
      std::fill(data, data + sum.get_desc().get_size() / sizeof(float), 0.0f);
    }
    backward.execute(stream, back);
    execute(after);
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
void* step_create(const std::int64_t* size, int loss, int all, float rate, const float* params, const float* x,
                  const float* y, const std::int64_t* classes, const float* weights, const std::int64_t* last) try {
#ifdef __SSE__
  _mm_setcsr(_mm_getcsr() | 0x8040);  // denormals flushed, in favour of oneDNN
#endif
  return new Step(size, Loss(loss), all != 0, rate, params, x, y, classes, weights, last);
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
