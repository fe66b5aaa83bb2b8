#include "parallel/gradients/slices.h"

#include <algorithm>
#include <map>

namespace parallel {
namespace {

bool overlap(const ElementRange& a, const ElementRange& b) {
  return a.begin < b.begin + b.count && b.begin < a.begin + a.count;
}

/// Where releases end, in the order of backward [byte]; none where the plan does not say.
std::vector<int64_t> release_stops(const Plan& plan) {
  std::vector<int64_t> stops;
  int64_t stop = 0;
  for (size_t layer = plan.layers.size(); plan.release == GradientRelease::kPlanned && layer-- > 0;) {
    stops.push_back(stop += plan.layers[layer].moe_gradient_bytes);
    stops.push_back(stop += plan.layers[layer].dense_gradient_bytes);
  }
  return stops;
}

}  // namespace

std::vector<Slice> cut_slices(const std::vector<SlicedBucket>& buckets, const Plan& plan, int64_t element_bytes) {
  const std::vector<int64_t> stops = release_stops(plan);
  std::vector<Slice> slices;
  int64_t sent = 0;
  // Ranks of one group hold the same elements, ranks of two groups may not: cuts look at the group's own alone.
  std::map<const void*, int64_t> places;
  for (size_t b = 0; b < buckets.size(); ++b) {
    const SlicedBucket& bucket = buckets[b];
    int64_t& place = places[bucket.group];
    for (int64_t begin = 0; begin < bucket.elements;) {
      int64_t count = bucket.elements - begin;
      if (plan.slice_bytes > 0) count = std::min(count, std::max<int64_t>(1, plan.slice_bytes / element_bytes));
      const auto next = std::ranges::upper_bound(stops, place);
      if (bucket.on_wire && next != stops.end()) {
        count = std::min(count, std::max<int64_t>(1, (*next - place) / element_bytes));
      }
      place += count * element_bytes;
      sent += bucket.on_wire ? count * element_bytes : 0;
      slices.push_back({.number = static_cast<int64_t>(slices.size()),
                        .bucket = b,
                        .elements = {begin, count},
                        .ends_bucket = begin + count == bucket.elements,
                        .bytes_up_to = sent});
      for (const ElementRange& parameter : bucket.places) {
        slices.back().parameters += overlap(parameter, slices.back().elements);
      }
      begin += count;
    }
  }
  return slices;
}

void SliceQueue::cut(const std::vector<SlicedBucket>& buckets, const Plan& plan, int64_t element_bytes) {
  plan_ = plan;
  slices_ = cut_slices(buckets, plan, element_bytes);
}

void SliceQueue::begin_round() {
  for (Slice& slice : slices_) slice.waiting = slice.parameters;
  next_to_issue_ = next_to_retire_ = 0;
  released_bytes_ = 0;
  ending_ = false;
}

void SliceQueue::complete(size_t bucket, const ElementRange& elements) {
  for (Slice& slice : slices_) {
    if (slice.bucket == bucket && overlap(slice.elements, elements)) --slice.waiting;
  }
}

void SliceQueue::end_round() {
  for (Slice& slice : slices_) slice.waiting = 0;  // a parameter that no loss reaches keeps its zeros
  ending_ = true;
}

Slice* SliceQueue::take() {
  if (next_to_issue_ == slices_.size()) return nullptr;
  Slice& next = slices_[next_to_issue_];
  if (next.waiting != 0 || !released(next)) return nullptr;
  ++next_to_issue_;
  return &next;
}

bool SliceQueue::released(const Slice& slice) const {
  return ending_ || plan_.release == GradientRelease::kWhenReady ||
         (plan_.release == GradientRelease::kPlanned && slice.bytes_up_to <= released_bytes_);
}

}  // namespace parallel
