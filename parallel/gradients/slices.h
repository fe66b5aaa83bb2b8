// Buckets are sent in slices (FSMoE's gradient partition): which there are, and which may go.
// defines: SlicedBucket, Slice, cut_slices, SliceQueue
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "parallel/comm/work.h"
#include "parallel/mesh/placement.h"
#include "parallel/schedule/plan.h"

namespace parallel {

/// What of a bucket says how it is cut.
struct SlicedBucket {
  int64_t elements = 0;
  const void* group = nullptr;       // its ranks
  bool on_wire = true;               // they are several
  std::vector<ElementRange> places;  // where its parameters lie
};

struct Slice {
  int64_t number = 0;
  size_t bucket = 0;
  ElementRange elements = {};  // of the bucket
  bool ends_bucket = false;
  int64_t bytes_up_to = 0;  // what goes over a wire with it and all slices before it
  int64_t parameters = 0;   // that lie in it, or partly
  int64_t waiting = 0;      // those whose last gradient is still to come
  Work work = {};
};

/// In the order of issue: where the plan's releases end, and at most its slice_bytes each; else whole buckets.
std::vector<Slice> cut_slices(const std::vector<SlicedBucket>& buckets, const Plan& plan, int64_t element_bytes);

/// The slices of one reduction after the other. Their order is fixed, the same on every rank, whatever order backward
/// takes: a slice may go once it is complete, those before it have gone, and the plan has released so many bytes.
class SliceQueue {
 public:
  void cut(const std::vector<SlicedBucket>& buckets, const Plan& plan, int64_t element_bytes);
  bool is_cut_for(const Plan& plan) const { return !slices_.empty() && plan == plan_; }

  /// Nothing has come, gone or been released.
  void begin_round();
  /// The last gradient of a parameter that lies there.
  void complete(size_t bucket, const ElementRange& elements);
  void release(int64_t bytes) { released_bytes_ += bytes; }
  /// All that is left may go: what has not come by now does not come.
  void end_round();

  /// The next that may go, which then counts as gone; null: none yet.
  Slice* take();
  /// The first that has gone and was not retired; null: there is none.
  Slice* oldest() { return next_to_retire_ < next_to_issue_ ? &slices_[next_to_retire_] : nullptr; }
  void retire_oldest() { ++next_to_retire_; }

 private:
  bool released(const Slice& slice) const;

  std::vector<Slice> slices_;
  Plan plan_;  // that they are cut for
  size_t next_to_issue_ = 0, next_to_retire_ = 0;
  int64_t released_bytes_ = 0;
  bool ending_ = false;
};

}  // namespace parallel
