// The structure of a network: its layer directions and the offsets of their parameters.
#ifndef FASTBPTT_ENGINE_TOPOLOGY_H
#define FASTBPTT_ENGINE_TOPOLOGY_H

#include <vector>

#include "engine.h"

namespace fastbptt {

// One direction of one layer, with the offsets of its parameters in the flat buffer
struct LayerDirection {
  i64 layer, direction;
  i64 inputs;  // columns that it reads
  i64 W_xh = 0, W_hh = 0, b_h = 0, b_extra = 0, logit = 0;
  i64 N_hh = 0, M_hh = 0;  // instead of W_hh
  bool reverse() const { return direction == 1; }
};

// Elements from .. to of the flat buffer
struct Range {
  i64 from, to;
};

// The elements that updates change, in order: all except frozen parameters, a frozen embedding and the padding row
std::vector<Range> trained_ranges(const Spec& spec, const std::vector<std::string>& frozen);

struct Topology {
  explicit Topology(const Spec& spec);

  i64 I() const { return spec.inputs; }
  i64 H() const { return spec.hidden; }
  i64 O() const { return spec.outputs; }
  i64 D() const { return spec.directions(); }
  i64 GH() const { return info.gates * H(); }  // columns of W_xh and W_hh
  bool is_top(const LayerDirection& p) const { return p.layer == spec.layers - 1; }
  i64 top() const { return static_cast<i64>(layer_directions.size()) - D(); }
  i64 readout_of(const LayerDirection& p) const { return is_top(p) ? O() : 0; }
  i64 depth_back(const LayerDirection& p) const { return readout_of(p) + with_hidden * H(); }
  i64 inputs_of(const Preactivation& preactivation, const LayerDirection& p) const {
    return preactivation.input ? p.inputs : 0;
  }
  i64 hidden_of(const Preactivation& preactivation) const {
    return preactivation.hidden != Preactivation::none ? H() : 0;
  }
  i64 bias_of(const LayerDirection& p, int preactivation) const {
    return preactivation < info.gates ? p.b_h + preactivation * H() : p.b_extra;
  }
  void check_initial(const Batch& batch) const;  // throws if the constants are missing
  void check_weights(const Batch& batch) const;  // throws if the network has parameters that the batch does not bring
  // Of dgates: of the pre-activations, and of the cell's number
  i64 gradients() const { return info.preactivations + (spec.learn_setting ? 1 : 0); }
  bool trains_initial() const { return spec.learn_state || spec.static_size; }
  bool trains_embedding() const { return spec.vocabulary && !spec.freeze_embedding; }
  bool dropping(const Batch& batch) const {
    return batch.drop && (batch.dropout < 0 ? spec.dropout : batch.dropout) > 0 && spec.layers > 1;
  }
  bool masking(const Batch& batch) const { return batch.drop && spec.recurrent_dropout > 0; }
  bool zoning(const Batch& batch) const { return batch.drop && spec.has_zoneout(); }
  bool noisy(const Batch& batch) const { return batch.noise && (spec.input_noise > 0 || spec.recurrent_noise > 0); }
  // The readout follows each step of the recursion
  bool fused(bool all_steps) const { return all_steps && D() == 1; }

  Spec spec;
  int cell;  // its place in the instruction sets' tables
  const CellInfo& info;
  std::vector<LayerDirection> layer_directions;  // the first layer's forward and reverse, the second's ..
  i64 with_input = 0, with_hidden = 0;           // number of pre-activations with x W_xh, with h W_hh
  i64 initial[CellInfo::most_states] = {};       // places in the flat buffer
  i64 static_map[CellInfo::most_states] = {};    // W_sh, W_sc, (static size, state rows * H)
  i64 W_hy = 0, b_y = 0, embedding = 0;
  std::vector<i64> read_row;  // of each column of the top layer's states, its row of W_hy, -1: none; empty: its number
  i64 count;                  // elements of the flat buffer
  i64 checked;                // .. checked for NaN at each call; rows of the embedding are checked when they are read
};

}  // namespace fastbptt

#endif
