// Many training steps in a row: batches of a data set, gathered and trained on one after the other. Needs no Python.
#ifndef FASTBPTT_TRAINING_BATCHES_H
#define FASTBPTT_TRAINING_BATCHES_H

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "engine.h"
#include "gather.h"

namespace fastbptt {

// The type of the numbers of a data set; booleans are u8
enum class Element { f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };

// One part of a data set, such as its inputs: (n), (n, steps) or (n, steps, columns)
class SequenceSource {
 public:
  SequenceSource() = default;
  // integers: what the engine reads them as; floats stay as they are. time: steps of each; 0: those of the batch
  SequenceSource(const StridedSequences& from, Element element, Dtype integers, int axes, i64 time)
      : from_(&from), element_(element), integers_(integers), axes_(axes), time_(time) {}
  explicit operator bool() const { return from_ != nullptr; }
  // Some sequences: where they lie, or in a buffer, which the next call overwrites. time: steps of the batch; copy: in
  // the buffer in any case
  Array take(const i64* rows, i64 n, i64 time, bool copy = false);
  const std::uint8_t* bytes(const i64* rows, i64 n, i64 time);

 private:
  const StridedSequences* from_ = nullptr;
  Element element_ = Element::f32;
  Dtype integers_ = Dtype::f32;
  int axes_ = 1;
  i64 time_ = 0;
  std::vector<double> gathered_, converted_;  // of any type that is not larger
};

// A data set as the engine reads it: what is absent, no batch has
struct TrainingData {
  struct OfBlock {
    SequenceSource y, sample_weight;
  };
  SequenceSource x, static_inputs, resets;
  std::vector<OfBlock> blocks;  // one for each of the objective
  std::vector<i64> lengths;     // of all sequences; empty: all have `time` steps
  i64 time = 0;
  i64 warmup = 0;       // the first steps of a sequence, whose weights are 0 whatever is given
  Objective objective;  // without targets and weights, which each batch brings
};

// Which batches of a data set to train on, and where the results go
struct TrainingCourse {
  const i64* rows = nullptr;  // the sequences of an epoch, in order
  i64 sequences = 0;
  const i64* starts = nullptr;  // where the batches begin in them
  i64 batches = 0;
  i64 size = 1;                      // of a batch, at most
  double seconds = 0;                // after which no further batch begins
  const double* rates = nullptr;     // of each batch; null: the optimiser's
  std::uint64_t seed = 0, draw = 0;  // dropout or noise has the numbers of this seed from `draw` on; 0: there is none
  // [batches][..], out: the loss, and after it those of the blocks if the objective has a place for them; penalties on
  // parameters, and after them the four on states if there are any
  double *losses = nullptr, *penalties = nullptr;
};

// Trains on batches until all are done, the time is over or a step throws. done: the number of complete ones, also
// after an exception
void train_on_batches(Engine& engine, TrainingData& data, const Update& update, const TrainingCourse& course,
                      i64& done);

class BatchRun;

// Threads that each train a network of their own. Those that have joined make their steps together (train_together),
// with the results of train_on_batches: one works for all of them, while the others wait. For one that stays away, in a
// function of the caller's say, they wait once, for a moment.
class TrainingCrew {
 public:
  void join();
  void leave();
  // By one that has joined: as the function, for as many batches as all of them have
  void train_on_batches(Engine& engine, TrainingData& data, const Update& update, const TrainingCourse& course,
                        i64& done);

 private:
  std::size_t awaited() const;

  std::mutex mutex_;
  std::condition_variable change_;
  std::map<std::thread::id, bool> members_;  // whether the others wait for it
  std::vector<BatchRun*> waiting_;
  bool works_ = false;  // one of them, for all
};

}  // namespace fastbptt

#endif
