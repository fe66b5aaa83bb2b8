#include "launch/planning/reduction_model.h"

#include <algorithm>
#include <map>

#include "parallel/gradients/buckets.h"

namespace launch {
namespace {

struct PlannedBucket {
  std::vector<size_t> members;
  int64_t elements = 0, part = 0;  // of the rank that owns most of it
  size_t missing = 0;              // members whose gradient is still to come
  enum class State { kWaiting, kOpen, kSent, kArrived } state = State::kWaiting;
};

/// In the order in which they are sent.
std::vector<PlannedBucket> planned_buckets(const Recipe& recipe, const ParameterTable& parameters, int64_t wide) {
  const auto shapes = parameters.gradients(recipe.update_rule());
  std::vector<PlannedBucket> all;
  for (const auto& bucket : parallel::gradient_buckets(shapes, wide, parallel::kBucketBytes)) {
    const auto cut = parallel::cut_of(bucket, shapes, parameters.own[bucket.members.front()].sharers);
    all.push_back({.members = bucket.members,
                   .elements = bucket.elements,
                   .part = *std::ranges::max_element(cut),
                   .missing = bucket.members.size()});
  }
  return all;
}

/// The stage in whose backward the last of a parameter's gradients comes: the first one, in forward order, that has it.
size_t stage_of(const std::vector<Stage>& stages, const std::string& parameter) {
  for (size_t i = 0; i < stages.size(); ++i) {
    for (const std::string& prefix : stages[i].parameters) {
      if (parameter.starts_with(prefix)) return i;
    }
  }
  return 0;
}

int64_t bytes_of(const PlannedBucket& bucket, int64_t zero, bool once, int64_t wide) {
  const bool opens = zero == 2 || once;
  using State = PlannedBucket::State;
  const int64_t part = bucket.part * wide;
  const bool sent = bucket.state == State::kSent, arrived = bucket.state == State::kArrived;
  const bool open = bucket.state == State::kOpen || sent || (zero < 2 && arrived);
  const bool arrives = zero > 0 && (sent || ((zero == 1 || once) && arrived));
  return (opens && open ? bucket.elements * wide : 0) + (arrives ? part : 0);
}

}  // namespace

void add_reductions(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                    std::vector<Stage>& stages) {
  const bool once = work.micro_batches == 1, opens = recipe.mesh.zero == 2 || once;
  if (recipe.mesh.zero == 0 && !opens) return;
  using State = PlannedBucket::State;
  std::vector<PlannedBucket> buckets = planned_buckets(recipe, parameters, work.wide);
  std::multimap<size_t, size_t> bucket_of_stage;  // once for each parameter
  for (size_t b = 0; b < buckets.size(); ++b) {
    for (const size_t i : buckets[b].members) bucket_of_stage.emplace(stage_of(stages, parameters.own[i].name), b);
  }
  for (size_t stage = stages.size(); stage-- > 0;) {
    for (PlannedBucket& bucket : buckets) {
      if (bucket.state == State::kSent) bucket.state = State::kArrived;
    }
    const auto [begin, end] = bucket_of_stage.equal_range(stage);
    for (auto each = begin; each != end; ++each) {
      PlannedBucket& bucket = buckets[each->second];
      if (opens && recipe.mesh.zero < 2 && bucket.state == State::kWaiting)
        stages[stage].opened += bucket.elements * work.wide;
      bucket.state = State::kOpen;
      --bucket.missing;
    }
    for (PlannedBucket& bucket : buckets) {
      if (bucket.missing > 0) break;  // those behind it wait
      if (bucket.state == State::kOpen) bucket.state = State::kSent;
    }
    for (const PlannedBucket& bucket : buckets)
      stages[stage].reduction += bytes_of(bucket, recipe.mesh.zero, once, work.wide);
  }
}

}  // namespace launch
