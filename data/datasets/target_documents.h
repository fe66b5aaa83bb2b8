// defines: TargetDocuments
#pragma once
#include <cstdint>
#include <vector>

#include "data/datasets/token_corpus.h"

namespace data {

/// The documents of one split as sequences of inputs and targets: from the end of text, which begins each, to the
/// document's own. Conversations begin with their own first token, as their template says, and end with the last target
/// that a model is to say; what it is not to say is an ignored target. Of a document with more than `longest` targets
/// the beginning is taken; one of which nothing is left to learn is left out. Cheap to copy; keeps the file mapped; any
/// number of threads may read.
class TargetDocuments {
 public:
  /// UserError for a split of which nothing is left.
  TargetDocuments(const TokenCorpus& corpus, Split split, int64_t longest);

  int64_t size() const { return static_cast<int64_t>(documents_.size()); }
  int64_t group(int64_t index) const;                                                   // index into the corpus' groups
  int64_t length(int64_t index) const { return lengths_[static_cast<size_t>(index)]; }  // in targets, at least 1
  const std::vector<int64_t>& lengths() const { return lengths_; }
  int64_t tokens() const;                     // lengths of all
  int64_t cut() const { return cut_; }        // of them, documents that go on
  int64_t left_out() const { return left_; }  // documents of which nothing is to be learned before they are cut
  /// Of the text that is learned, of a document that is cut about so many.
  int64_t bytes(int64_t index) const;
  /// Appends length(index) inputs and targets, TokenBatch::kIgnored where nothing is learned.
  void append(int64_t index, std::vector<int64_t>& tokens, std::vector<int64_t>& targets) const;

 private:
  int64_t first_token(int64_t index) const;  // of the file

  TokenCorpus corpus_;
  int64_t cut_ = 0, left_ = 0;
  std::vector<int64_t> documents_;  // indices into the corpus
  std::vector<int64_t> lengths_;
};

}  // namespace data
