// Pooling: the mean or the maximum of the top layer's hidden states over the steps of each sequence, and the gradients
// that go back from there. Ties go to the caller's earliest step.
#ifndef FASTBPTT_ENGINE_POOLING_H
#define FASTBPTT_ENGINE_POOLING_H

#include <algorithm>
#include <utility>

#include "engine/layer_directions.h"
#include "engine/packing.h"

namespace fastbptt {

// Where the forward pass of a top layer pools its states; a reverse direction's first step is the caller's last
template <class T>
PoolArgs<T> pool_args(const Net<T>& net, const Workspace<T>& w, Steps steps, std::size_t i) {
  const LayerBuffers<T>& b = w.layers[i];
  return {b.pooled, b.batch_panel, steps == Steps::max ? b.maximum : nullptr, net.layer_directions[i].reverse()};
}

// The states that a readout of one output per sequence reads, the pooled or the final ones: panels of B rows
template <class T>
const T* states_of_sequences(const LayerBuffers<T>& b, Steps steps) {
  return pools(steps) ? b.pooled : b.last;
}

// From the sum to the mean over a sequence's own steps
template <class T>
void finish_pooling(const Net<T>& net, Workspace<T>& w, Steps steps, i64 row0, i64 row1) {
  const i64 n = w.panel;
  for (i64 d = 0; steps == Steps::mean && d < net.D(); ++d) {
    const LayerBuffers<T>& buffers = w.layers[size_of(net.top() + d)];
    for (i64 p = 0; p < panels_of(net, w); ++p)
      for (i64 b = row0; b < row1; ++b) {
        T* row = buffers.pooled + p * buffers.batch_panel + b * n;
        for (i64 j = 0; j < n; ++j) row[j] /= static_cast<T>(w.plan.length(b));
      }
  }
}

// dL/dh at each step from dy of the pooled outputs: the same at all steps for the mean, else at the maxima alone
template <class T>
void pooled_gradient(const Net<T>& net, Workspace<T>& w, Steps steps, i64 row0, i64 row1) {
  const i64 n = w.panel, width = net.spec.output_width();
  for (i64 d = 0; d < net.D(); ++d) {
    const LayerDirection& dir = net.layer_directions[size_of(net.top() + d)];
    const LayerBuffers<T>& buffers = w.layers[size_of(net.top() + d)];
    for (i64 b = row0; b < row1; ++b) {
      const T* dy = w.dy + b * width;
      if (!net.O()) to_panels(net, w, dy + d * net.H(), b, false, buffers.d_pooled, buffers.batch_panel);
      for (i64 p = 0; p < panels_of(net, w); ++p) {
        T* row = buffers.d_pooled + p * buffers.batch_panel + b * n;
        const T* weights = buffers.w_backward + p * net.depth_back(dir) * n;  // W_hy^T comes first
        if (net.O()) std::fill_n(row, n, T(0));
        for (i64 o = 0; o < net.O(); ++o)
          for (i64 j = 0; j < n; ++j) row[j] += dy[o] * weights[o * n + j];
        for (i64 j = 0; steps == Steps::mean && j < n; ++j) row[j] /= static_cast<T>(w.plan.length(b));
      }
    }
  }
}

// dh of a block's steps for the maximum
template <class T>
void spread_to_maxima(const Net<T>& net, const Workspace<T>& w, i64 row0, i64 row1, std::size_t i, i64 window,
                      const BatchPlan::Block& block) {
  const BatchPlan& plan = w.plan;
  const LayerBuffers<T>& buffers = w.layers[i];
  const i64 n = w.panel, base = plan.row(plan.window(window).t0, 0);
  for (i64 p = 0; p < panels_of(net, w); ++p)
    for (i64 t = block.t0; t < block.t1; ++t) {
      const i64 end = std::min(row1, plan.running(t)), from = p * buffers.batch_panel + row0 * n;
      T* dh = buffers.dh + p * buffers.dh_panel + (plan.row(t, row0) - base) * n;
      for (i64 j = 0; j < (end - row0) * n; ++j)
        dh[j] = buffers.maximum[from + j] == t ? buffers.d_pooled[from + j] : T(0);
    }
}

}  // namespace fastbptt

#endif
