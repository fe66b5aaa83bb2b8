// defines: PackedDocuments, RowBatches, HeldOutRows: whole documents packed into rows, for a language model
#pragma once
#include <string>
#include <vector>

#include "data/batching/packed_rows.h"
#include "data/datasets/target_documents.h"
#include "launch/batches/batches.h"

namespace launch {

/// The rows of one split, and what a batch of them is: with DocumentPacking::kDocuments each document is a sequence,
/// which sees itself alone, from its own first position on; with kJoined each row is.
class PackedDocuments {
 public:
  PackedDocuments(const data::TokenCorpus& corpus, const Recipe& recipe, data::Split split);

  const data::TargetDocuments& documents() const { return documents_; }
  int64_t rows() const { return rows_.size(); }

  /// What lies before some rows.
  struct Place {
    int64_t sequences = 0, tokens = 0;
  };
  Place size_of(int64_t row) const;
  /// This rank's part of the rows `all`.
  MicroBatch batch(const std::vector<int64_t>& all, data::Shard shard, const Place& before) const;

 private:
  data::TargetDocuments documents_;
  data::PackedRows rows_;
  bool joined_;
  std::vector<int64_t> task_of_group_;  // empty: there are no tasks
};

/// Each row once an epoch, in an order drawn for each epoch.
class RowBatches : public TrainingBatches {
 public:
  RowBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  std::vector<MicroBatch> read(int64_t update) const override;
  parallel::SpanScale scale() const override;
  int64_t sequences_per_micro_batch() const override { return micro_rows_; }
  std::string left_out() const override;
  int64_t sequences_before(int64_t updates) const override { return updates * micro_batches_ * micro_rows_; }

 private:
  PackedDocuments packed_;
  data::Shard shard_;
  uint64_t seed_;
  int64_t capacity_, micro_batches_, micro_rows_;
};

/// Every row once, in order.
class HeldOutRows : public HeldOutBatches {
 public:
  HeldOutRows(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard);
  int64_t count() const override;
  MicroBatch read(int64_t index) const override;
  std::vector<HeldOutGroup> groups() const override;

 private:
  PackedDocuments packed_;
  std::vector<std::string> names_;
  data::Shard shard_;
  int64_t batch_;
  std::vector<PackedDocuments::Place> places_;  // [batches]
};

}  // namespace launch
