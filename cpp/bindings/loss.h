// Several losses, each of some columns of the outputs.
#ifndef FASTBPTT_BINDINGS_LOSS_H
#define FASTBPTT_BINDINGS_LOSS_H

#include <string>
#include <vector>

#include "engine.h"

namespace fastbptt::bindings {

struct LossBlocks {
  struct NamedLoss {
    std::string name;
    Loss loss;
    i64 width;
    double weight;
  };
  std::vector<NamedLoss> blocks;
};

}  // namespace fastbptt::bindings

#endif
