// defines: pair_selection, PairPlace, direction_tasks, PairBatches, HeldOutPairs: sentence pairs, for an
// encoder-decoder
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "data/batching/direction_tasks.h"
#include "data/batching/pair_sampler.h"
#include "data/batching/task_sampler.h"
#include "launch/batches/batches.h"

namespace launch {

/// What [data] chooses of a split; data.rows bounds the training alone.
data::PairSelection pair_selection(const Recipe& recipe, data::Split split);

/// What lies before some pairs.
struct PairPlace {
  int64_t pairs = 0;
  data::PairTokens tokens;
};

/// Of each direction of the text the number of its task among the recipe's; empty: there are none.
std::vector<int64_t> direction_tasks(const data::ParallelText& text, const Recipe& recipe, data::AbsentTask absent);

/// An update is a batch of pairs of like length, of all directions or, with tasks.each = update, of one.
class PairBatches : public TrainingBatches {
 public:
  PairBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  std::vector<MicroBatch> read(int64_t update) const override;
  parallel::SpanScale scale() const override;
  int64_t sequences_per_micro_batch() const override;
  std::string left_out() const override;
  int64_t sequences_before(int64_t) const override { return -1; }

 private:
  /// What whole updates are drawn from.
  struct Part {
    data::ParallelText text;
    data::PairSampler sampler;
    std::vector<int64_t> task_of_direction;
    int64_t first_group = 0;  // number of its first direction among all that the run reads
    double share = 1;         // of the updates
    int64_t pairs_in_epoch() const;
  };
  void add_part(const data::TokenCorpus& corpus, const Recipe& recipe, const std::string& directions);
  void take_turns(const Recipe& recipe);

  std::vector<Part> parts_;
  std::optional<data::TaskSampler> turns_;  // nothing: there is one part
  data::Shard shard_;
  uint64_t seed_;
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
  std::vector<int64_t> task_of_direction_;
  std::vector<std::vector<int64_t>> batches_;
  /// Of each batch among all held-out pairs, so that a stochastic router's draws are the same for any batch.
  std::vector<PairPlace> places_;
  data::Shard shard_;
  int64_t start_;  // token of each target
};

}  // namespace launch
