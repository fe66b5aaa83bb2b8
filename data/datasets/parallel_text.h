// defines: Direction, PairSelection, ParallelText
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/datasets/split.h"
#include "data/datasets/token_corpus.h"
#include "data/shard.h"

namespace data {

/// From one group (language) into another.
struct Direction {
  int32_t source = 0;  // index into the corpus' groups
  int32_t target = 0;
  std::string name;  // "en-de"
};

struct PairSelection {
  std::string directions = "all";  // or a list, '*' for any language: "en-de,de-en", "en-*,*-en"
  int64_t longest = 128;           // tokens of either side, tag and end included; more are left out of training
  int64_t rows = 0;                // only the first so many aligned rows of the split; 0: all
};

/// The sentence pairs of one split in chosen directions: a row of translations gives one pair for each direction of
/// which it has both languages. The pairs of a direction follow each other, in the order of the rows. Cheap to copy;
/// keeps the file mapped; any number of threads may read.
class ParallelText {
 public:
  /// One sentence and its translation. Lengths count what read_pairs gives.
  struct Pair {
    int64_t source_document = 0;
    int64_t target_document = 0;
    int32_t direction = 0;      // index into directions()
    int64_t source_length = 0;  // tag, tokens, end
    int64_t target_length = 0;  // tokens, end
  };

  /// UserError for a file without alignment or without language tags, a split without rows, directions that the file
  /// does not have, an item of the list without any pair (both with those it has), and a direction without a pair that
  /// is short enough.
  /// Pairs longer than `longest` are left out of Split::kTrain only; the other splits keep all.
  ParallelText(const TokenCorpus& corpus, Split split, const PairSelection& selection);

  int64_t size() const;
  const Pair& pair(int64_t index) const;  // @pre: 0 <= index < size(), checked
  /// Sorted by source, then target. Those of '*' and "all" that have no pair in this split are not among them.
  const std::vector<Direction>& directions() const;
  IndexRange pairs_of(int32_t direction) const;  // its pairs' indices
  int64_t skipped() const;                       // pairs left out because they are longer than `longest`

  std::string source_text(int64_t index) const;
  std::string target_text(int64_t index) const;
  /// Appends the tag "<2target>", the tokens and end_of_text: source_length tokens.
  void append_source(int64_t index, std::vector<int64_t>& tokens) const;
  /// Appends the tokens and end_of_text: target_length tokens.
  void append_target(int64_t index, std::vector<int64_t>& tokens) const;
  const TokenCorpus& corpus() const;

 private:
  struct Contents;
  void append_document(int64_t document, std::vector<int64_t>& tokens) const;

  std::shared_ptr<const Contents> contents_;
};

}  // namespace data
