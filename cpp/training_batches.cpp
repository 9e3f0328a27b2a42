#include "training_batches.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <type_traits>
#include <utility>

#include "engine/dropout.h"
#include "errors.h"

namespace fastbptt {

namespace {

i64 size_of(Element element) {
  switch (element) {
    case Element::i8:
    case Element::u8:
      return 1;
    case Element::i16:
    case Element::u16:
      return 2;
    case Element::f32:
    case Element::i32:
    case Element::u32:
      return 4;
    default:
      return 8;
  }
}

template <class From, class To>
void convert(const void* from, i64 count, void* to) {
  const auto* values = static_cast<const From*>(from);
  auto* out = static_cast<To*>(to);
  for (i64 i = 0; i < count; ++i) {
    From value = values[i];
    if constexpr (std::is_same_v<From, std::uint64_t> && std::is_same_v<To, i64>)  // too large for any use stays so
      value = std::min<From>(value, std::numeric_limits<i64>::max());
    if constexpr (sizeof(From) == 1)
      out[i] = static_cast<To>(float(value));  // exact; a signed char made an integer is taken for a mistake
    else
      out[i] = static_cast<To>(value);
  }
}

template <class From>
void convert_from(const void* from, i64 count, Dtype to, void* out) {
  if (to == Dtype::f32) return convert<From, float>(from, count, out);
  if (to == Dtype::f64) return convert<From, double>(from, count, out);
  convert<From, i64>(from, count, out);
}

void convert_elements(Element from, const void* values, i64 count, Dtype to, void* out) {
  switch (from) {
    case Element::i8:
      return convert_from<std::int8_t>(values, count, to, out);
    case Element::i16:
      return convert_from<std::int16_t>(values, count, to, out);
    case Element::i32:
      return convert_from<std::int32_t>(values, count, to, out);
    case Element::i64:
      return convert_from<i64>(values, count, to, out);
    case Element::u8:
      return convert_from<std::uint8_t>(values, count, to, out);
    case Element::u16:
      return convert_from<std::uint16_t>(values, count, to, out);
    case Element::u32:
      return convert_from<std::uint32_t>(values, count, to, out);
    default:
      return convert_from<std::uint64_t>(values, count, to, out);
  }
}

void* of_size(std::vector<double>& buffer, i64 bytes) {
  const auto needed = static_cast<std::size_t>((bytes + 7) / 8);
  if (buffer.size() < needed) buffer.resize(needed);
  return buffer.data();
}

// No loss at the first steps of a sequence
void clear_warmup(const Array& weights, i64 warmup) {
  auto* values = static_cast<double*>(const_cast<void*>(weights.data));
  for (i64 i = 0; i < weights.shape[0]; ++i)
    std::fill_n(values + i * weights.shape[1], std::min(warmup, weights.shape[1]), 0.0);
}

}  // namespace

const std::uint8_t* SequenceSource::bytes(const i64* rows, i64 n, i64 time) {
  const i64 steps = axes_ == 1 ? 1 : time_ ? time_ : time;
  void* to = of_size(gathered_, n * steps * from_->columns() * size_of(element_));
  from_->gather(rows, n, steps, to);
  return static_cast<const std::uint8_t*>(to);
}

Array SequenceSource::take(const i64* rows, i64 n, i64 time, bool copy) {
  Array out;
  out.shape[0] = n;
  if (axes_ > 1) out.shape[1] = time_ ? time_ : time;
  if (axes_ > 2) out.shape[2] = from_->columns();
  const bool floats = element_ == Element::f32 || element_ == Element::f64;
  out.dtype = !floats ? integers_ : element_ == Element::f32 ? Dtype::f32 : Dtype::f64;
  if (!copy && axes_ == 3 && floats && from_->lie_evenly(rows, n, out.shape[1], out.data, out.strides)) return out;
  out.data = bytes(rows, n, time);
  i64 count = 1;
  for (int axis = 0; axis < axes_; ++axis) count *= out.shape[axis];
  const i64 width = out.dtype == Dtype::f32 ? 4 : 8;
  if (!floats && (element_ != Element::i64 || integers_ != Dtype::i64)) {
    void* to = of_size(converted_, count * width);
    convert_elements(element_, out.data, count, integers_, to);
    out.data = to;
  }
  i64 stride = width;
  for (int axis = axes_ - 1; axis >= 0; --axis) {
    out.strides[axis] = out.shape[axis] > 1 ? stride : 0;
    stride *= out.shape[axis];
  }
  return out;
}

// One call's way through its batches
class BatchRun {
 public:
  BatchRun(Engine& engine, TrainingData& data, const Update& update, const TrainingCourse& course, i64& done)
      : engine(engine), update(update), course(course), objective(data.objective), done(done), data_(data) {
    done = 0;
    losses_ = course.losses;
    penalties_ = course.penalties;
  }
  bool is_over() const { return done == course.batches; }
  // The next batch, and in `objective` where its results go
  Batch next();
  void note(double loss) {
    *losses_ = loss;
    losses_ += objective.losses ? 1 + data_.blocks.size() : 1;
    if (penalties_) penalties_ += objective.penalties.size() + (objective.activity ? 4 : 0);
    ++done;
  }

  Engine& engine;
  const Update& update;
  const TrainingCourse& course;
  Objective& objective;
  i64& done;
  std::exception_ptr error = nullptr;
  bool has_ended = false;  // of one in a crew
  const std::thread::id thread = std::this_thread::get_id();

 private:
  TrainingData& data_;
  double *losses_, *penalties_;
  std::vector<i64> rows_, lengths_;
};

Batch BatchRun::next() {
  const i64 first = course.starts[done];
  if (first < 0 || first >= course.sequences) throw ArgumentError({"starts", "holds what is not there"});
  rows_.assign(course.rows + first, course.rows + std::min(first + course.size, course.sequences));
  const i64* rows = rows_.data();
  const auto n = static_cast<i64>(rows_.size()), all = static_cast<i64>(data_.lengths.size());
  Batch batch;
  i64 time = data_.time;
  if (all) {
    lengths_.clear();
    for (const i64 row : rows_) {
      if (row < 0 || row >= all) throw ArgumentError({"rows", "holds what is not there"});
      lengths_.push_back(data_.lengths[static_cast<std::size_t>(row)]);
    }
    time = *std::max_element(lengths_.begin(), lengths_.end());
    batch.lengths = lengths_.data();
  }
  batch.x = data_.x.take(rows, n, time);
  if (data_.static_inputs) batch.static_inputs = data_.static_inputs.take(rows, n, time);
  if (data_.resets) {
    const std::uint8_t* marks = data_.resets.bytes(rows, n, time);
    if (std::any_of(marks, marks + n * time, [](std::uint8_t one) { return one != 0; }))
      batch.resets = reinterpret_cast<const bool*>(marks);
  }
  for (std::size_t k = 0; k < data_.blocks.size(); ++k) {
    TrainingData::OfBlock& from = data_.blocks[k];
    objective.blocks[k].y = from.y.take(rows, n, time);
    if (!from.sample_weight) continue;
    objective.blocks[k].sample_weight = from.sample_weight.take(rows, n, time, data_.warmup > 0);
    if (data_.warmup) clear_warmup(objective.blocks[k].sample_weight, data_.warmup);
  }
  if (course.draw) {
    const std::uint64_t number = course.draw + static_cast<std::uint64_t>(done);
    batch.drop = batch.noise = true;
    batch.dropout_seed = batch.noise_seed = Dropout::mix(course.seed + Dropout::golden * number);  // SplitMix64
  }
  if (course.rates) update.optimizer->set("lr", course.rates[done]);
  if (objective.losses) objective.losses = losses_ + 1;
  objective.penalty_values = penalties_;
  objective.activity.values = penalties_ ? penalties_ + objective.penalties.size() : nullptr;
  return batch;
}

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::milliseconds(100);  // with one of a crew that stays away

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// One batch of each at a time, until the first of them is over or has no time left; errors go to the run that they
// belong to
void train_all(std::vector<BatchRun*> runs) {
  double seconds = runs[0]->course.seconds;
  for (const BatchRun* run : runs) seconds = std::min(seconds, run->course.seconds);
  const Clock::time_point end = after(seconds);
  std::vector<TrainingStep> steps;
  std::vector<i64> made;
  do {
    if (std::any_of(runs.begin(), runs.end(), [](const BatchRun* run) { return run->is_over(); })) return;
    steps.clear();
    made.clear();
    std::vector<BatchRun*> ready;
    for (BatchRun* run : runs) try {
        steps.push_back(
            {.engine = &run->engine, .batch = run->next(), .objective = run->objective, .update = run->update});
        made.push_back(run->update.optimizer->step);
        ready.push_back(run);
      } catch (...) {
        run->error = std::current_exception();
      }
    std::exception_ptr stopped;
    try {
      train_together(steps);
    } catch (...) {
      stopped = std::current_exception();
    }
    runs.clear();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const bool is_made = !steps[i].error && (!stopped || steps[i].update.optimizer->step != made[i]);
      if (is_made) ready[i]->note(steps[i].loss);
      ready[i]->error = steps[i].error ? steps[i].error : stopped;
      if (!ready[i]->error) runs.push_back(ready[i]);
    }
  } while (!runs.empty() && Clock::now() < end);
}

}  // namespace

void train_on_batches(Engine& engine, TrainingData& data, const Update& update, const TrainingCourse& course,
                      i64& done) {
  const Clock::time_point end = after(course.seconds);
  BatchRun run(engine, data, update, course, done);
  while (!run.is_over() && (done == 0 || Clock::now() < end)) {
    const Batch batch = run.next();
    run.note(engine.train_step(batch, run.objective, update));
  }
}

void TrainingCrew::join() {
  const std::lock_guard<std::mutex> lock(mutex_);
  members_[std::this_thread::get_id()] = true;
}

void TrainingCrew::leave() {
  const std::lock_guard<std::mutex> lock(mutex_);
  members_.erase(std::this_thread::get_id());
  change_.notify_all();
}

std::size_t TrainingCrew::awaited() const {
  std::size_t count = 0;
  for (const auto& [id, is_awaited] : members_) count += is_awaited;
  return count;
}

void TrainingCrew::train_on_batches(Engine& engine, TrainingData& data, const Update& update,
                                    const TrainingCourse& course, i64& done) {
  BatchRun run(engine, data, update, course, done);
  std::unique_lock<std::mutex> lock(mutex_);
  waiting_.push_back(&run);
  members_[run.thread] = true;
  while (!run.has_ended) {
    if (works_) {
      change_.wait(lock);
      continue;
    }
    if (waiting_.size() < awaited() && change_.wait_for(lock, patience) == std::cv_status::no_timeout) continue;
    if (works_ || run.has_ended) continue;
    if (waiting_.size() < awaited()) {  // in vain: no longer for those who are not here
      for (auto& [id, is_awaited] : members_) is_awaited = false;
      for (const BatchRun* one : waiting_) members_[one->thread] = true;
    }
    works_ = true;
    const std::vector<BatchRun*> all = std::exchange(waiting_, {});
    lock.unlock();
    std::exception_ptr failed;
    try {
      train_all(all);
    } catch (...) {
      failed = std::current_exception();
    }
    lock.lock();
    works_ = false;
    for (BatchRun* one : all) {
      if (failed && !one->error) one->error = failed;
      one->has_ended = true;
    }
    change_.notify_all();
  }
  if (run.error) std::rethrow_exception(run.error);
}

}  // namespace fastbptt
