// Which gradients travel together, and which rank updates what of them: the same for the reducer and for planning.
// defines: kBucketBytes, GradientUnit, GradientShape, BucketPlan, gradient_buckets, cut_of
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace parallel {

constexpr int64_t kBucketBytes = int64_t{4} << 20;  // that a bucket is full at, unless told otherwise

/// What of a parameter may not be cut by ZeRO: a number, or for an update that looks at matrices one of them.
struct GradientUnit {
  int64_t elements = 1;  // here; they lie together
  int64_t whole = 1;     // of it all: those who hold the other parts of a matrix cut as this rank does
  bool operator==(const GradientUnit&) const = default;
};

/// One parameter's gradient.
struct GradientShape {
  int64_t elements = 0;
  int64_t group = 0;  // equal numbers: summed over the same ranks
  GradientUnit unit = {};
};

/// Gradients of one group and of one kind of unit, in one flat tensor.
struct BucketPlan {
  int64_t group = 0;
  int64_t elements = 0;
  std::vector<size_t> members;  // parameters, as they lie
};

/// In the order in which backward yields them, about the reverse one of the parameters; a bucket is full at
/// `bucket_bytes`.
std::vector<BucketPlan> gradient_buckets(const std::vector<GradientShape>& gradients, int64_t element_bytes,
                                         int64_t bucket_bytes);

/// Elements of a bucket that each of `ranks` ranks owns, one part behind the other: as even as whole units can be.
std::vector<int64_t> cut_of(const BucketPlan& bucket, const std::vector<GradientShape>& gradients, int64_t ranks);

}  // namespace parallel
