// defines: DocumentSet
#pragma once
#include <cstdint>
#include <vector>

#include "data/datasets/token_corpus.h"

namespace data {

/// The documents of one split, each whole, or its beginning where it is longer than `longest` tokens, end_of_text
/// included. Cheap to copy; keeps the file mapped; any number of threads may read.
class DocumentSet {
 public:
  /// UserError for a split without a document.
  DocumentSet(const TokenCorpus& corpus, Split split, int64_t longest);

  int64_t size() const { return static_cast<int64_t>(documents_.size()); }
  int64_t group(int64_t index) const;   // index into the corpus' groups
  int64_t length(int64_t index) const;  // in tokens, at least 1
  int64_t tokens() const;               // of all
  int64_t cut() const { return cut_; }  // documents that are longer
  void append(int64_t index, std::vector<int64_t>& tokens) const;
  const TokenCorpus& corpus() const { return corpus_; }

 private:
  int64_t whole_length(int64_t index) const;

  TokenCorpus corpus_;
  int64_t longest_, cut_ = 0;
  std::vector<int64_t> documents_;  // indices into the corpus
};

}  // namespace data
