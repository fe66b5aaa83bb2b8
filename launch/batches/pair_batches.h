// defines: PairBatches, HeldOutPairs: sentence pairs, for an encoder-decoder
#pragma once
#include <vector>

#include "data/batching/pair_sampler.h"
#include "launch/batches/batches.h"

namespace launch {

/// What [data] chooses of a split; data.rows bounds the training alone.
data::PairSelection pair_selection(const Recipe& recipe, data::Split split);

/// What lies before some pairs.
struct PairPlace {
  int64_t pairs = 0;
  data::PairTokens tokens;
};

class PairBatches : public TrainingBatches {
 public:
  PairBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  std::vector<MicroBatch> read(int64_t update) const override;
  parallel::SpanScale scale() const override;
  int64_t sequences_per_micro_batch() const override;
  std::string left_out() const override;
  int64_t sequences_before(int64_t) const override { return -1; }

 private:
  data::ParallelText text_;
  data::PairSampler sampler_;
  data::Shard shard_;
  int64_t micro_batches_, start_;
};

/// Validation pairs in order of length.
class HeldOutPairs : public HeldOutBatches {
 public:
  HeldOutPairs(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  int64_t count() const override { return static_cast<int64_t>(batches_.size()); }
  MicroBatch read(int64_t index) const override;
  std::vector<HeldOutGroup> groups() const override;

 private:
  data::ParallelText text_;
  std::vector<std::vector<int64_t>> batches_;
  /// Of each batch among all held-out pairs, so that a stochastic router's draws are the same for any batch.
  std::vector<PairPlace> places_;
  data::Shard shard_;
  int64_t start_;  // token of each target
};

}  // namespace launch
