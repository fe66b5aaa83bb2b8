#include "parallel/gradients/buckets.h"

#include <algorithm>
#include <utility>

#include "parallel/base/even_part.h"

namespace parallel {
namespace {

bool in_units(const GradientShape& gradient) { return gradient.unit != GradientUnit{}; }

/// Numbers of all ranks' parts together, where they are cut alike.
int64_t whole_elements(const GradientShape& gradient) {
  return gradient.elements / gradient.unit.elements * gradient.unit.whole;
}

}  // namespace

std::vector<BucketPlan> gradient_buckets(const std::vector<GradientShape>& gradients, int64_t element_bytes,
                                         int64_t bucket_bytes) {
  struct Open {
    BucketPlan bucket;
    bool in_units = false;
    int64_t whole = 0;
  };
  std::vector<BucketPlan> closed;
  std::vector<Open> open;  // one for each group and kind of unit, in the order of its last parameter
  const auto close = [&](Open& each) {
    const int64_t group = each.bucket.group;
    closed.push_back(std::exchange(each.bucket, {.group = group}));
    each.whole = 0;
  };
  for (size_t i = gradients.size(); i-- > 0;) {
    const GradientShape& gradient = gradients[i];
    auto found = std::ranges::find_if(open, [&](const Open& each) {
      return each.bucket.group == gradient.group && each.in_units == in_units(gradient);
    });
    if (found == open.end()) {
      found = open.insert(open.end(), {.bucket = {.group = gradient.group}, .in_units = in_units(gradient)});
    }
    found->bucket.members.push_back(i);
    found->bucket.elements += gradient.elements;
    found->whole += whole_elements(gradient);
    if (found->whole * element_bytes >= bucket_bytes) close(*found);
  }
  for (Open& each : open) {
    if (!each.bucket.members.empty()) close(each);
  }
  return closed;
}

std::vector<int64_t> cut_of(const BucketPlan& bucket, const std::vector<GradientShape>& gradients, int64_t ranks) {
  std::vector<int64_t> cut(static_cast<size_t>(ranks), 0);
  if (!in_units(gradients[bucket.members.front()])) {
    for (int64_t r = 0; r < ranks; ++r) cut[static_cast<size_t>(r)] = even_part(bucket.elements, r, ranks).count;
    return cut;
  }
  int64_t total = 0, before = 0;
  for (const size_t i : bucket.members) total += whole_elements(gradients[i]);
  for (const size_t i : bucket.members) {
    const GradientUnit& unit = gradients[i].unit;
    for (int64_t n = gradients[i].elements / unit.elements; n > 0; --n) {
      // To the rank in whose even part its middle lies.
      const int64_t rank = std::min(ranks - 1, (2 * before + unit.whole) * ranks / (2 * total));
      cut[static_cast<size_t>(rank)] += unit.elements;
      before += unit.whole;
    }
  }
  return cut;
}

}  // namespace parallel
