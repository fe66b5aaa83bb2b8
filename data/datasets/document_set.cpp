#include "data/datasets/document_set.h"

#include <algorithm>

#include "data/datasets/corpus_contents.h"

namespace data {

DocumentSet::DocumentSet(const TokenCorpus& corpus, Split split, int64_t longest)
    : corpus_(corpus), longest_(longest), documents_(corpus.documents_of(split)) {
  corpus.require_documents(split);
  for (int64_t i = 0; i < size(); ++i) cut_ += whole_length(i) > longest ? 1 : 0;
}

int64_t DocumentSet::whole_length(int64_t index) const {
  const CorpusContents& stored = *corpus_.shared_contents();
  const auto d = static_cast<size_t>(documents_.at(static_cast<size_t>(index)));
  return stored.offsets[d + 1] - stored.offsets[d];
}

int64_t DocumentSet::length(int64_t index) const { return std::min(longest_, whole_length(index)); }

int64_t DocumentSet::group(int64_t index) const {
  return corpus_.shared_contents()->group[static_cast<size_t>(documents_.at(static_cast<size_t>(index)))];
}

int64_t DocumentSet::tokens() const {
  int64_t sum = 0;
  for (int64_t i = 0; i < size(); ++i) sum += length(i);
  return sum;
}

void DocumentSet::append(int64_t index, std::vector<int64_t>& tokens) const {
  const CorpusContents& stored = *corpus_.shared_contents();
  const size_t before = tokens.size();
  const int64_t count = length(index);
  tokens.resize(before + static_cast<size_t>(count));
  const auto d = static_cast<size_t>(documents_.at(static_cast<size_t>(index)));
  stored.tokens.copy(stored.offsets[d], count, tokens.data() + before);
}

}  // namespace data
