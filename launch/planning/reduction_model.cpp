#include "launch/planning/reduction_model.h"

#include <algorithm>
#include <map>

#include "parallel/gradients/gradient_reducer.h"

namespace launch {
namespace {

struct PlannedBucket {
  std::vector<size_t> members;
  int64_t elements = 0, sharers = 1;
  size_t missing = 0;  // members whose gradient is still to come
  enum class State { kWaiting, kOpen, kSent, kArrived } state = State::kWaiting;
};

/// In the order in which they are sent.
std::vector<PlannedBucket> planned_buckets(const ParameterTable& parameters, int64_t wide) {
  std::vector<PlannedBucket> closed, open;
  std::vector<parallel::Replicas> keys;  // of the open ones
  for (size_t i = parameters.own.size(); i-- > 0;) {
    const ParameterShare& share = parameters.own[i];
    auto key = std::ranges::find(keys, share.replicas);
    if (key == keys.end()) {
      key = keys.insert(keys.end(), share.replicas);
      open.emplace_back();
    }
    PlannedBucket& bucket = open[static_cast<size_t>(key - keys.begin())];
    bucket.members.push_back(i);
    bucket.missing = bucket.members.size();
    bucket.elements += share.elements;
    bucket.sharers = share.sharers;
    if (bucket.elements * wide >= parallel::ReducerOptions{}.bucket_bytes) closed.push_back(std::exchange(bucket, {}));
  }
  for (PlannedBucket& bucket : open) {
    if (!bucket.members.empty()) closed.push_back(std::move(bucket));
  }
  return closed;
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

int64_t bytes_of(const PlannedBucket& bucket, int64_t zero, int64_t wide) {
  using State = PlannedBucket::State;
  const int64_t part = (bucket.elements + bucket.sharers - 1) / bucket.sharers * wide;
  const bool sent = bucket.state == State::kSent, arrived = bucket.state == State::kArrived;
  if (zero == 1) return sent || arrived ? part : 0;
  return (bucket.state == State::kOpen || sent ? bucket.elements * wide : 0) + (sent ? part : 0);
}

}  // namespace

void add_reductions(const Recipe& recipe, const ParameterTable& parameters, const Workload& work,
                    std::vector<Stage>& stages) {
  if (recipe.mesh.zero == 0) return;
  using State = PlannedBucket::State;
  std::vector<PlannedBucket> buckets = planned_buckets(parameters, work.wide);
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
      bucket.state = State::kOpen;
      --bucket.missing;
    }
    for (PlannedBucket& bucket : buckets) {
      if (bucket.missing > 0) break;  // those behind it wait
      if (bucket.state == State::kOpen) bucket.state = State::kSent;
    }
    for (const PlannedBucket& bucket : buckets)
      stages[stage].reduction += bytes_of(bucket, recipe.mesh.zero, work.wide);
  }
}

}  // namespace launch
