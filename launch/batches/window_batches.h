// defines: WindowBatches, HeldOutWindows: windows of one length over the text of one or more files, or of each task,
// for a language model
#pragma once
#include <string>
#include <vector>

#include "data/batching/mixed_text.h"
#include "data/batching/sequence_sampler.h"
#include "data/batching/task_sampler.h"
#include "launch/batches/batches.h"

namespace launch {

/// Of several files sequences are drawn by weight, of tasks as [tasks] says; each part's windows in a shuffled order of
/// its own. An epoch is then as many sequences as all parts have.
class WindowBatches : public TrainingBatches {
 public:
  WindowBatches(const data::TokenMixture& mixture, const Recipe& recipe, data::Shard shard);
  std::vector<MicroBatch> read(int64_t update) const override;
  parallel::SpanScale scale() const override;
  int64_t sequences_per_micro_batch() const override { return micro_sequences_; }
  std::string left_out() const override { return left_out_; }
  int64_t sequences_before(int64_t updates) const override { return updates * micro_batches_ * micro_sequences_; }
  std::vector<SourceTokens> source_tokens(int64_t updates) const override;

 private:
  data::MixedWindow window_at(int64_t position) const;

  data::MixedText text_;
  data::Shard shard_;
  uint64_t seed_;
  int64_t sequence_length_, micro_batches_, micro_sequences_;
  std::vector<data::SequenceSampler> samplers_;  // of each part
  data::TaskSampler order_;
  std::string left_out_;
};

/// The last window of a part may be padded.
class HeldOutWindows : public HeldOutBatches {
 public:
  HeldOutWindows(const data::TokenMixture& mixture, const Recipe& recipe, data::Shard shard);
  int64_t count() const override;
  MicroBatch read(int64_t index) const override;
  std::vector<HeldOutGroup> groups() const override;

 private:
  data::MixedText text_;
  std::vector<data::MixedWindow> windows_;
  data::Shard shard_;
  int64_t sequence_length_, batch_;
};

}  // namespace launch
