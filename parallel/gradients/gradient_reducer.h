// Gradients summed over the ranks that share a parameter, bucket by bucket, while backward goes on.
// defines: GradientReducer
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "parallel/comm/communicator.h"

namespace parallel {

struct ReducerOptions {
  int64_t bucket_bytes = int64_t{4} << 20;
};

/// Owns the gradients of `parameters`: flat buckets of float32 (float64 for float64 parameters), in reverse order of
/// the parameters, which is about the order in which backward yields them. Low-precision gradients are added to
/// their float32 place as they come, so that micro-batches and ranks are summed in float32.
/// A bucket's parameters share one group. Buckets are issued in a fixed order, the same on every rank, whatever order
/// backward takes.
class GradientReducer {
 public:
  using Groups = std::vector<std::shared_ptr<Communicator>>;

  /// groups[i]: the ranks that share parameter i, in this reducer's own traffic class.
  GradientReducer(std::vector<at::Tensor> parameters, const Groups& groups, ReducerOptions options = {});
  /// One group for all.
  GradientReducer(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group, ReducerOptions options = {});
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Zeroes all gradients: before an update's first micro-batch.
  void zero();
  /// Announces the update's last micro-batch: its backward starts the all-reduce of each bucket that is complete.
  void expect_last();
  /// Issues what backward has not issued, and waits for everything: gradients are then sums over ranks.
  void finish();

  /// The gradient of parameter i, in its shape; a view of its bucket.
  const at::Tensor& gradient(size_t i) const { return gradients_[i]; }
  /// Bytes that one update sends into all-reduce.
  int64_t bytes() const;

 private:
  struct Bucket;
  class Hook;

  void parameter_ready(size_t i);
  void issue_ready();

  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> gradients_;
  std::vector<size_t> bucket_of_;
  std::vector<Bucket> buckets_;
  size_t next_to_issue_ = 0;
  bool last_ = false;
};

}  // namespace parallel
