// defines: DocumentBatches, HeldOutDocuments: whole documents: text for a classifier, images for a diffusion model
#pragma once
#include <optional>
#include <vector>

#include "data/datasets/document_set.h"
#include "launch/batches/batches.h"

namespace launch {

class DocumentBatches : public TrainingBatches {
 public:
  /// UserError where the token file has another number of groups than the recipe classes, or images of another shape.
  DocumentBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  std::vector<MicroBatch> read(int64_t update) const override;
  parallel::SpanScale scale() const override;
  int64_t sequences_per_micro_batch() const override { return micro_sequences_; }
  std::string left_out() const override;
  int64_t sequences_before(int64_t updates) const override { return updates * micro_batches_ * micro_sequences_; }

 private:
  data::DocumentSet documents_;
  std::optional<moetrain::PatchGrid> images_;  // how they are cut; nothing where the documents are text
  data::Shard shard_;
  uint64_t seed_;
  int64_t longest_, micro_batches_, micro_sequences_;
};

/// In the file's order.
class HeldOutDocuments : public HeldOutBatches {
 public:
  HeldOutDocuments(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  int64_t count() const override;
  MicroBatch read(int64_t index) const override;
  std::vector<HeldOutGroup> groups() const override;

 private:
  data::DocumentSet documents_;
  std::optional<moetrain::PatchGrid> images_;  // how they are cut; nothing where the documents are text
  data::Shard shard_;
  int64_t batch_;
  std::vector<int64_t> starts_;  // [documents + 1], tokens before each
};

}  // namespace launch
