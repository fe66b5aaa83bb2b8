// defines: WindowBatches, HeldOutWindows: windows of one length over a text, for a language model
#pragma once
#include <vector>

#include "data/batching/sequence_sampler.h"
#include "launch/batches/batches.h"

namespace launch {

class WindowBatches : public TrainingBatches {
 public:
  WindowBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  std::vector<MicroBatch> read(int64_t update) const override;
  parallel::SpanScale scale() const override;
  int64_t sequences_per_micro_batch() const override { return micro_sequences_; }
  int64_t sequences_before(int64_t updates) const override { return updates * micro_batches_ * micro_sequences_; }

 private:
  data::TokenStream stream_;
  data::SequenceSampler sampler_;
  data::Shard shard_;
  uint64_t seed_;
  int64_t sequence_length_, micro_batches_, micro_sequences_;
};

/// The last window may be padded.
class HeldOutWindows : public HeldOutBatches {
 public:
  HeldOutWindows(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  int64_t count() const override;
  MicroBatch read(int64_t index) const override;
  std::vector<HeldOutGroup> groups() const override;

 private:
  data::TokenStream stream_;
  std::vector<std::string> names_;
  data::Shard shard_;
  int64_t sequence_length_, batch_, windows_;
};

}  // namespace launch
