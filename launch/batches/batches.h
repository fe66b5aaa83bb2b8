// defines: MicroBatch, SourceTokens, TrainingBatches, HeldOutBatches and their makers: what an update or an evaluation
// reads
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/datasets/token_mixture.h"
#include "data/shard.h"
#include "launch/recipe/recipe.h"
#include "moetrain/objectives/objective.h"
#include "parallel/base/span.h"

namespace launch {

/// This rank's part of one micro-batch.
struct MicroBatch {
  moetrain::Batch batch;
  // int64, the groups (languages, directions of translation, classes) of
  at::Tensor groups_T;         // each of the tokens,
  at::Tensor source_groups_T;  // each of the source's; undefined without a source,
  at::Tensor groups_S;         // each sequence; undefined where a sequence may be of several

  const at::Tensor& groups_of(moetrain::Rows rows, moetrain::Side side = moetrain::Side::kTokens) const;
};

MicroBatch to_device(const MicroBatch& batch, at::Device device);

/// Those of this rank's tokens that count: not OutputHead::kIgnored.
int64_t counted_targets(const MicroBatch& batch, const parallel::Mesh& mesh);

/// The group of each of this rank's rows, int64; -1 of those that are targets' and are not counted, so that what is
/// summed over held-out batches counts every row once.
at::Tensor counted_groups(const MicroBatch& batch, moetrain::Rows rows, moetrain::Side side,
                          const parallel::Mesh& mesh);

/// Of one of several token files or tasks.
struct SourceTokens {
  std::string name;
  int64_t read = 0;   // tokens
  int64_t there = 0;  // tokens of one pass over it
};

/// "a: 9000 tokens, 1.5 passes over it"
std::string describe(const SourceTokens& source);

/// A run's training data, fixed by recipe and update and never by the layout: micro-batch m is a contiguous part of the
/// global batch, and this rank's part of it a contiguous part of that. One thread at a time.
class TrainingBatches {
 public:
  virtual ~TrainingBatches() = default;
  /// The micro-batches of the update that follows `update` updates, on the CPU; those that would be empty on all ranks
  /// are left out.
  virtual std::vector<MicroBatch> read(int64_t update) const = 0;
  /// Of the first epoch, where updates differ in size.
  virtual parallel::SpanScale scale() const = 0;
  /// Where updates differ: the mean of the first epoch.
  virtual int64_t sequences_per_micro_batch() const = 0;
  /// A sentence on what the recipe leaves out of the data; empty where that is nothing.
  virtual std::string left_out() const { return {}; }
  /// Sequences read by the first `updates` updates; -1 where they are not counted.
  virtual int64_t sequences_before(int64_t updates) const = 0;
  /// What the first `updates` updates read of each token file or task; nothing where there is one. Beside a read.
  virtual std::vector<SourceTokens> source_tokens(int64_t) const { return {}; }
};

/// Windows of a text or rows of documents for a language model, sentence pairs for an encoder-decoder, documents for a
/// classifier. UserError where the recipe does not fit the text; only windows come of several files.
std::unique_ptr<TrainingBatches> make_training_batches(const data::TokenMixture& mixture, const Recipe& recipe,
                                                       data::Shard shard);

/// A group of held-out targets: a language, a direction, or a class.
struct HeldOutGroup {
  std::string name;
  int64_t bytes = 0;        // of text to predict
  std::string source = {};  // the token file or task, where there are several
};

/// Held-out text in batches, every target once.
class HeldOutBatches {
 public:
  virtual ~HeldOutBatches() = default;
  virtual int64_t count() const = 0;
  virtual MicroBatch read(int64_t index) const = 0;  // this rank's part, on the CPU
  virtual std::vector<HeldOutGroup> groups() const = 0;
};

/// UserError where nothing was held out.
std::unique_ptr<HeldOutBatches> make_held_out_batches(const data::TokenMixture& mixture, const Recipe& recipe,
                                                      data::Shard shard);

}  // namespace launch
