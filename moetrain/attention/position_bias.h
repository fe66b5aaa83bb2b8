// defines: PositionBias, distance_bucket, check_relative: what tokens say to each other, shifted by their distance
#pragma once
#include <torch/nn/module.h>

#include <vector>

#include "moetrain/attention/attention_config.h"
#include "moetrain/layers/parameter_source.h"

namespace moetrain {

// B buckets, H query heads (of this rank), L queries, K keys

/// The bucket of a key that stands `offset` places behind its query, before it where negative (Raffel et al. 2020).
/// Causal: all buckets are for the keys before; else half of them for either side. Half of a side's buckets are
/// distances of their own, the others grow with the logarithm up to `longest`.
int64_t distance_bucket(const RelativeConfig& config, int64_t offset, bool causal);

/// UserError where the distances leave a bucket without any.
void check_relative(const AttentionConfig& config);

/// One number for each head and bucket of distances, [B, H] under the name "weight", which a tensor group cuts by
/// heads, as it does the attention's. All blocks of a stack share it.
class PositionBias : public torch::nn::Module {
 public:
  PositionBias(const ParameterSource& source, const RelativeConfig& config, int64_t heads, bool causal, double std);

  /// Of L queries behind `past` places, and of all L + past keys: [1, H, L, K].
  at::Tensor forward(int64_t queries, int64_t past) const;
  /// Of the one query of each sequence behind its own past: [S, H, 1, K], K being keys of the longest; [1, H, 1, K]
  /// where all are as long. Zeros past a sequence's end.
  at::Tensor next(const std::vector<int64_t>& past_S) const;

 private:
  RelativeConfig config_;
  bool causal_;
  at::Tensor weight_BH_;
};

}  // namespace moetrain
