// Gradients summed over the ranks that share a parameter, bucket by bucket, while backward goes on.
// defines: GradientReducer, ReducerOptions
#pragma once
#include <ATen/core/Tensor.h>

#include <deque>
#include <memory>
#include <vector>

#include "parallel/autograd/gradient_place.h"
#include "parallel/comm/communicator.h"
#include "parallel/device/stream_mark.h"
#include "parallel/gradients/buckets.h"
#include "parallel/gradients/gradient_bucket.h"
#include "parallel/gradients/slices.h"
#include "parallel/mesh/placement.h"
#include "parallel/schedule/schedule.h"

namespace parallel {

struct ReducerOptions {
  int64_t bucket_bytes = kBucketBytes;
  Sharding sharding = Sharding::kNone;
  std::vector<GradientUnit> units = {};  // of each parameter, what sharding may not cut; empty: it may cut anywhere
  /// Whose plan says when gradients may be sent and in which slices; null: as soon as they are there, by bucket.
  std::shared_ptr<Schedule> schedule = nullptr;
};

/// Owns the gradients of `parameters`: flat buckets of float32 (float64 for float64 parameters), in reverse order of
/// the parameters, which is about the order in which backward yields them. Low-precision gradients are added to
/// their float32 place as they come, so that micro-batches and ranks are summed in float32; while it lives, autograd
/// takes gradients of either type for such a parameter. A node that asks for a place (autograd/gradient_place.h)
/// writes the first gradient of a round there itself.
/// A bucket's parameters share one group. Buckets are sent in slices, in an order and at times that a plan may say
/// (gradients/slices.h). With Sharding::kGradients the host of a device runs ahead of it by at most two buckets that
/// are sent during backward: their memory is taken when the host comes to them, and given back when a reduction has
/// arrived. With sharding each bucket is cut evenly over its group, wherever parameters begin, or between units
/// (gradients/buckets.h).
class GradientReducer {
 public:
  using Groups = std::vector<std::shared_ptr<Communicator>>;

  /// groups[i]: the ranks that share parameter i, in this reducer's own traffic class. With sharding the parameters'
  /// data move into flat buffers.
  GradientReducer(std::vector<at::Tensor> parameters, const Groups& groups, ReducerOptions options = {});
  /// One group for all.
  GradientReducer(std::vector<at::Tensor> parameters, std::shared_ptr<Communicator> group, ReducerOptions options = {});
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Forgets all gradients, and gives their memory back: before an update's first micro-batch.
  void zero();
  /// Announces a micro-batch: the backward of the update's last one (with Sharding::kGradients, of each) starts the
  /// reduction of each bucket that is complete.
  void expect(bool last);
  /// After each backward. With Sharding::kGradients issues what backward has not issued, and waits for it: collective.
  void end_micro_batch();
  /// After the last: issues what backward has not issued, and waits for everything: gradients are then sums over ranks.
  /// Collective.
  void finish();

  /// The elements of parameter i, flattened, that this rank updates: all but for sharding.
  const ElementRange& owned(size_t i) const { return bucket(i).owned(places_[i].member); }
  /// Their summed gradient, from finish() to the next zero(): in the parameter's shape without sharding, else as a
  /// column (a vector for a vector).
  at::Tensor gradient(size_t i) const;
  /// The same elements of the parameter itself, in the same shape; what an optimizer writes to.
  at::Tensor owned_part(size_t i) const;
  /// After the optimizer's update: every rank gets what the others own. Collective with sharding, else nothing.
  void gather_parameters();

  /// Bytes that one update sends into reductions.
  int64_t bytes() const;
  /// Bytes of gradients that are kept between micro-batches.
  int64_t kept_bytes() const;

 private:
  /// Where a parameter's gradient is.
  struct Place {
    size_t bucket = 0, member = 0;
  };
  class Hook;

  bool sharded() const { return options_.sharding != Sharding::kNone; }
  const GradientBucket& bucket(size_t parameter) const { return buckets_[places_[parameter].bucket]; }
  int64_t element_bytes() const;
  TraceRecorder* recorder() const;
  void parameter_ready(size_t i);
  at::Tensor take_place(size_t i, GradientWidth width);
  /// Cuts the buckets into slices where the plan has changed.
  void cut_slices();
  void release(int64_t bytes);
  void issue_ready();
  void bound_lead();
  void retire(Slice& slice);
  void note(const Slice& slice) const;
  void begin_round();
  void end_round();

  std::vector<at::Tensor> parameters_;
  ReducerOptions options_;
  std::vector<Place> places_;  // of each parameter
  std::vector<GradientBucket> buckets_;
  SliceQueue slices_;
  bool issuing_ = false;
  std::deque<StreamMark> issued_;  // of a device: what its stream held when a bucket had gone, newest last
};

}  // namespace parallel
