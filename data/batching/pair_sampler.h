// defines: PairTokens, tempered, PairSampler, count_tokens, evaluation_batches, read_pairs
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"
#include "data/datasets/parallel_text.h"

namespace data {

struct PairTokens {
  int64_t source = 0;  // tag and end of each sentence included
  int64_t target = 0;  // end of each sentence included
  bool operator==(const PairTokens&) const = default;
};

/// n^(1/T) of each size n, over that of the largest, which is then 1: at low temperatures the others may vanish, but
/// never all. @pre: some size is above 0.
std::vector<double> tempered(std::vector<double> sizes, double temperature);

/// Batches of sentence pairs of like length, drawn by direction at a temperature. What update u of a run reads is a
/// function of (text, options, seed, u) alone, so a resumed run and any number of ranks continue the same order.
///
/// An epoch holds about as many pairs as the text. Direction d with n_d pairs gets the share n_d^(1/T) / sum of it
/// (Aharoni et al. 2019; T = 1: in proportion, so that each pair comes exactly once an epoch), from an endless shuffled
/// order of its own in which no pair comes twice before all came once. The epoch's pairs are sorted by length, ties in
/// drawn order, cut into batches, and the batches shuffled.
///
/// Remembers the epoch asked for last (a few dozen bytes for each of its pairs): one thread at a time.
class PairSampler {
 public:
  struct Options {
    int64_t batch_tokens = 4096;  // source and target tokens of an update, at most
    double temperature = 1.0;     // T > 0; infinity: all directions alike
  };

  /// UserError for a pair that has more than batch_tokens tokens alone, and for a temperature that is not above 0.
  PairSampler(const ParallelText& text, const Options& options, uint64_t seed);

  /// The pairs of update `update` >= 0 of the run, sorted by source + target length, shortest first.
  std::vector<int64_t> batch(int64_t update) const;
  PairTokens batch_tokens(int64_t update) const;

  int64_t epoch_of(int64_t update) const;
  /// The number of updates before this epoch; first_update(e) is also how many updates e epochs are.
  int64_t first_update(int64_t epoch) const;
  int64_t batches_in_epoch(int64_t epoch) const { return first_update(epoch + 1) - first_update(epoch); }
  PairTokens tokens_in_epoch(int64_t epoch) const;
  int64_t pairs_in_epoch(int64_t epoch, int32_t direction) const;

 private:
  struct Epoch {
    int64_t number = -1;
    std::vector<int64_t> pairs;   // sorted by length
    std::vector<int64_t> starts;  // [batches + 1], first pair of each batch
  };

  int64_t drawn_before(int64_t epoch, int32_t direction) const;
  int64_t pair_at(int32_t direction, int64_t position) const;
  void walk_to(int64_t epoch) const;
  int64_t count_batches(int64_t epoch) const;
  std::vector<int64_t> lengths_in_epoch(int64_t epoch) const;
  const Epoch& open_epoch(int64_t epoch) const;
  int64_t length_of(int64_t pair) const;

  ParallelText text_;
  int64_t batch_tokens_;
  int64_t longest_ = 0;  // tokens of the longest pair
  uint64_t seed_;
  std::vector<double> pairs_an_epoch_;                 // [directions], fractional
  std::vector<std::vector<int64_t>> pairs_of_length_;  // [directions][length], of all pairs of the direction
  mutable std::vector<int64_t> first_update_{0};       // [epochs walked + 1]
  mutable Epoch epoch_;                                // the one asked for last
};

/// What the pairs with these indices add up to.
PairTokens count_tokens(const ParallelText& text, std::span<const int64_t> indices);

/// All pairs in batches of at most `batch_tokens` source and target tokens, sorted by length and then index: what an
/// evaluation reads, in order. A pair that is longer is a batch of its own.
std::vector<std::vector<int64_t>> evaluation_batches(const ParallelText& text, int64_t batch_tokens);

/// The pairs with these indices, in this order; may be none. `start`: what each target's input begins with; -1: the end
/// of text.
PairBatch read_pairs(const ParallelText& text, const std::vector<int64_t>& indices, int64_t start = -1);

}  // namespace data
