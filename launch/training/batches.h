// defines: DeviceBatch, BatchPlace, TrainingBatches: one update's micro-batches, this rank's part of them
#pragma once
#include <vector>

#include "data/batching/sequence_sampler.h"
#include "data/shard.h"
#include "launch/recipe/recipe.h"
#include "moetrain/objectives/next_token.h"

namespace launch {

/// Where this rank's tokens are in the micro-batch of all ranks.
struct BatchPlace {
  int64_t global_tokens = 0;
  int64_t first_token = 0;
};

/// This rank's sequences of one micro-batch, on the device.
struct DeviceBatch {
  moetrain::TokenTargets inputs;
  at::Tensor groups_T;  // int64, group (language) of each target
  BatchPlace place;
};

DeviceBatch to_device(const data::TokenBatch& batch, const BatchPlace& place, at::Device device);

/// The targets that count: not TokenBatch::kIgnored.
int64_t counted_targets(const data::TokenBatch& batch);

/// An update's data, fixed by recipe and position and never by the layout: micro-batch m is a contiguous part of the
/// global batch, and this rank's part of it a contiguous part of that.
class TrainingBatches {
 public:
  TrainingBatches(const data::TokenStream& stream, const Recipe& recipe, data::Shard shard);
  /// The micro-batches of the update whose first sequence is number `position` of the run.
  std::vector<data::TokenBatch> read(int64_t position) const;
  /// Of this rank's tokens in every micro-batch.
  BatchPlace place() const;
  int64_t sequences_per_epoch() const { return sampler_.windows(); }
  int64_t sequences_per_micro_batch() const { return micro_sequences_; }

 private:
  data::TokenStream stream_;
  data::SequenceSampler sampler_;
  data::Shard shard_;
  uint64_t seed_;
  int64_t sequence_length_, micro_batches_, micro_sequences_;
};

}  // namespace launch
