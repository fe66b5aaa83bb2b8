// What the executor of an MoE model does when: a value that is printed, saved, compared and replayed.
// defines: GradientRelease, LayerPlan, Plan, to_string, to_text
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace parallel {

/// What Plan::carve_out may be.
constexpr int64_t kMostCarvedOut = 64;

/// When dense gradients may be sent.
enum class GradientRelease {
  kAfterBackward,  // when backward has ended
  kWhenReady,      // as soon as they are there, beside whatever else is on the link
  kPlanned,        // so many bytes at the places that LayerPlan names; the rest after backward
};
std::string to_string(GradientRelease release);

/// One MoE layer, in forward order. A layer's backward behind which no gradient has come up yet releases nothing.
struct LayerPlan {
  int64_t forward_chunks = 1, backward_chunks = 1;  // pieces that the layer's rows are cut into
  int64_t moe_gradient_bytes = 0;    // kPlanned: released in this layer's MoE backward, after its last dispatch and
                                     // before its first combine
  int64_t dense_gradient_bytes = 0;  // kPlanned: released when this layer's MoE backward has ended, for the dense part
                                     // behind it (in backward order)
  bool operator==(const LayerPlan&) const = default;
};

/// The executor obeys the plan and nothing else; a plan says when things are sent, never what is computed. Every rank
/// of a job holds the same one. The default is the sequential schedule with gradients sent as they come up.
struct Plan {
  std::string name = "sequential";
  bool overlap = false;   // false: each exchange is waited for where it is issued
  bool one_link = false;  // the links inside and between hosts count as one (no intra/inter overlap)
  GradientRelease release = GradientRelease::kWhenReady;
  /// Of a GPU's multiprocessors: exchanges and gradients keep to so many, and experts in several chunks leave them so
  /// many (NCCL's maxCTAs, and LibTorch's carve-out); 0: nobody does.
  int64_t carve_out = 0;
  int64_t slice_bytes = 0;        // [byte] cut of the gradients when they are sent; 0: the reducer's own buckets
  std::vector<LayerPlan> layers;  // empty: every layer as LayerPlan{}
  bool operator==(const Plan&) const = default;
};

/// A line for the whole, a head, and a row for each layer.
std::string to_text(const Plan& plan);

}  // namespace parallel
