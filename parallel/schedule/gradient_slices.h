// Where in backward the dense gradients are sent: in the gaps of MoE layers, beside dense parts, the rest at the end.
// Source: FSMoE, section 5 (the free gaps first, then the rest at the least cost), with an exact dynamic program in
// place of its search.
// defines: ChunkOption, BackwardLayer, BackwardPass, Slices, SlicesCost, cost_of, and five ways to choose slices
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/schedule/costs.h"

namespace parallel {

/// One number of chunks for one direction of one MoE layer.
struct ChunkOption {
  int64_t chunks = 1;
  double seconds = 0;       // of the layer without gradients
  double link_seconds = 0;  // of it, those in which the link that gradients take is busy
  /// [s] with so many seconds of gradients: they stand before the combines, which end the link's work, so the layer
  /// takes as long as without them, or as the link alone.
  double seconds_with(double gradients) const {
    return seconds > link_seconds + gradients ? seconds : link_seconds + gradients;
  }
};

/// An MoE layer's backward and the dense part behind it.
struct BackwardLayer {
  std::vector<ChunkOption> options;  // not empty
  double dense_seconds = 0;
  int64_t gradient_bytes = 0;  // of the dense part; they can be sent once it has ended
  /// The fastest, of equally fast ones the first.
  const ChunkOption& fastest(double gradients) const;
};

struct BackwardPass {
  std::vector<BackwardLayer> layers;  // in backward order
  int64_t first_bytes = 0;            // gradients that are there before the first layer
  GradientCost cost;
  int64_t total_bytes() const;
};

/// [byte] sent in each layer, in backward order; what is left is sent after the last.
struct Slices {
  std::vector<int64_t> moe_bytes, dense_bytes;
  bool operator==(const Slices&) const = default;
};

struct SlicesCost {
  double seconds = 0;           // of backward, from the first MoE layer to the last gradient
  int64_t rest_bytes = 0;       // sent at the end
  std::vector<int64_t> chunks;  // the fastest, given what is sent in each layer
};
/// @pre no more is sent than is there
SlicesCost cost_of(const BackwardPass& pass, const Slices& slices);

/// All at the end.
Slices none(const BackwardPass& pass);
/// All that is there beside each dense part, nothing in MoE layers.
Slices beside_dense(const BackwardPass& pass);
/// What costs no layer anything (the paper's first step).
Slices in_free_gaps(const BackwardPass& pass);
/// Up to `piece_bytes` in each MoE layer, all that is there beside each dense part (Lina's fixed pieces).
Slices fixed_pieces(const BackwardPass& pass, int64_t piece_bytes);
/// The cheapest of all whose sends add up to whole quanta: a `quanta`-th of the mean layer's gradient, rounded up to
/// whole slices where the cost has them. Time: layers x (layers x quanta)^2.
Slices exact(const BackwardPass& pass, int64_t quanta);
/// The cheapest of all of the above, fixed pieces of 30 MB; of equally cheap ones the simplest.
Slices cheapest(const BackwardPass& pass, int64_t quanta);

inline constexpr int64_t kLinaPieceBytes = 30'000'000;

}  // namespace parallel
