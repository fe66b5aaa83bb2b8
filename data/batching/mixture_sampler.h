// defines: MixtureSampler: which source stands at a position of a run, by weight
#pragma once
#include <cstdint>
#include <vector>

namespace data {

/// Draws from S sources in proportion to their weights. Has no state: what stands at a position is a function of
/// (seed, position), found without walking there. Every stretch of kBlock positions that begins at a multiple of it has
/// each source's share of it, within S of it; inside a stretch the order is shuffled, so that no source keeps to one
/// rank's or one micro-batch's places.
class MixtureSampler {
 public:
  static constexpr int64_t kBlock = 1024;

  /// @pre at least one, each above 0
  explicit MixtureSampler(const std::vector<double>& weights);

  struct Draw {
    int64_t source = 0;
    int64_t index = 0;  // how many draws of this source come before it, in the order before shuffling: each index once
  };
  /// Of one source index = position.
  Draw draw_at(uint64_t seed, int64_t position) const;
  /// [S], draws of each source among the first `positions`.
  std::vector<int64_t> draws_before(uint64_t seed, int64_t positions) const;

 private:
  Draw in_turn(int64_t turn) const;

  std::vector<uint64_t> part_;  // [S], 2^32 * weight / (its and all later weights)
};

}  // namespace data
