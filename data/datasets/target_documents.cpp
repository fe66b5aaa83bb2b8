#include "data/datasets/target_documents.h"

#include <algorithm>
#include <numeric>

#include "data/batch.h"
#include "data/datasets/corpus_contents.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

/// Targets of a document whose tokens are [begin, end) of the file, at most `longest`; 0 where none is learned. A
/// conversation's first token is an input alone.
int64_t targets_of(const CorpusContents& stored, int64_t begin, int64_t end, int64_t longest) {
  if (stored.learned == nullptr) return std::min(longest, end - begin);
  int64_t last = std::min(end, begin + 1 + longest) - 1;
  while (last > begin && !stored.is_learned(last)) --last;
  return last - begin;
}

}  // namespace

TargetDocuments::TargetDocuments(const TokenCorpus& corpus, Split split, int64_t longest) : corpus_(corpus) {
  corpus.require_documents(split);
  const CorpusContents& stored = *corpus.shared_contents();
  for (const int64_t d : corpus.documents_of(split)) {
    const auto i = static_cast<size_t>(d);
    const int64_t begin = stored.offsets[i], end = stored.offsets[i + 1];
    const int64_t length = targets_of(stored, begin, end, longest);
    if (length == 0) {
      ++left_;
      continue;
    }
    cut_ += targets_of(stored, begin, end, end - begin) > longest ? 1 : 0;
    documents_.push_back(d);
    lengths_.push_back(length);
  }
  if (!documents_.empty()) return;
  parallel::user_error(stored.path, ", split '", to_string(split), "': none of its ", left_,
                       " documents has anything to learn within data.sequence_length = ", longest, " tokens",
                       "; legal: a longer one");
}

int64_t TargetDocuments::first_token(int64_t index) const {
  return corpus_.shared_contents()->offsets[static_cast<size_t>(documents_.at(static_cast<size_t>(index)))];
}

int64_t TargetDocuments::group(int64_t index) const {
  return corpus_.shared_contents()->group[static_cast<size_t>(documents_.at(static_cast<size_t>(index)))];
}

int64_t TargetDocuments::tokens() const { return std::accumulate(lengths_.begin(), lengths_.end(), int64_t{0}); }

int64_t TargetDocuments::bytes(int64_t index) const {
  const CorpusContents& stored = *corpus_.shared_contents();
  const auto d = static_cast<size_t>(documents_.at(static_cast<size_t>(index)));
  const int64_t begin = stored.offsets[d], end = stored.offsets[d + 1],
                all = targets_of(stored, begin, end, end - begin);
  if (all == length(index)) return stored.bytes[d];
  const auto learned = [&](int64_t targets) {
    int64_t count = 0;
    for (int64_t t = begin; t < begin + targets; ++t) count += stored.is_learned(t + 1) ? 1 : 0;
    return static_cast<double>(count);
  };
  const double share = stored.learned == nullptr ? static_cast<double>(length(index)) / static_cast<double>(all)
                                                 : learned(length(index)) / learned(all);
  return static_cast<int64_t>(share * static_cast<double>(stored.bytes[d]));
}

void TargetDocuments::append(int64_t index, std::vector<int64_t>& tokens, std::vector<int64_t>& targets) const {
  const CorpusContents& stored = *corpus_.shared_contents();
  const int64_t count = length(index), first = first_token(index);
  const auto before = static_cast<std::ptrdiff_t>(tokens.size());
  tokens.resize(tokens.size() + static_cast<size_t>(count));
  targets.resize(targets.size() + static_cast<size_t>(count));
  int64_t* const input = tokens.data() + before;
  int64_t* const target = targets.data() + before;
  if (stored.learned == nullptr) {
    stored.tokens.copy(first, count, target);
    input[0] = stored.tokenizer->end_of_text();
    std::copy_n(target, count - 1, input + 1);
    return;
  }
  stored.tokens.copy(first, count, input);
  stored.tokens.copy(first + 1, count, target);
  for (int64_t i = 0; i < count; ++i) {
    if (!stored.is_learned(first + 1 + i)) target[i] = TokenBatch::kIgnored;
  }
}

}  // namespace data
