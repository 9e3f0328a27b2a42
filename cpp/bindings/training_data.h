// A data set and an objective, read once for many steps.
#ifndef FASTBPTT_BINDINGS_TRAINING_DATA_H
#define FASTBPTT_BINDINGS_TRAINING_DATA_H

#include <atomic>

#include "bindings/structure.h"
#include "training_batches.h"

namespace fastbptt::bindings {

class PyTrainingData {
 public:
  // objective: one without y. y and sample_weight: StridedSequences of each block, of the latter also None, or None for
  // all. static, resets, lengths: None if there are none; time: the steps of each sequence if there are no lengths
  PyTrainingData(Call call, const void* engine, py::handle objective, py::handle x, py::handle y,
                 py::handle sample_weight, i64 warmup, py::handle static_inputs, py::handle resets, py::handle lengths,
                 i64 time);

  PyTrainingData(const PyTrainingData&) = delete;
  PyTrainingData& operator=(const PyTrainingData&) = delete;

  const void* engine;  // whose it is
  TrainingData data;
  i64 done = 0;                   // batches of the last call
  std::atomic<bool> busy{false};  // a call uses it

 private:
  py::tuple kept_;  // what it borrows from
};

}  // namespace fastbptt::bindings

#endif
