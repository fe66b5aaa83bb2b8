// defines: TokenStream
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace data {

struct CorpusContents;

/// The documents of one split as one sequence of tokens s[0..size()], where s[0] is end_of_text and every document ends
/// with end_of_text. Target t is s[t + 1] and its input is s[t], so there are size() targets. Cheap to copy; keeps the
/// file mapped; any number of threads may read.
class TokenStream {
 public:
  /// Made by TokenCorpus::stream. `documents`: indices into the corpus, in order.
  TokenStream(std::shared_ptr<const CorpusContents> contents, std::vector<int64_t> documents);

  int64_t size() const { return starts_.back(); }  // target tokens
  int64_t bytes() const;                           // text bytes of all documents
  int64_t bytes_of_group(int64_t group) const;
  int64_t targets_of_group(int64_t group) const;
  int64_t groups() const { return static_cast<int64_t>(group_bytes_.size()); }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }

  /// Fills `count` inputs, targets and groups of the targets for targets [begin, begin + count); begin >= 0. Places
  /// past the end get input end_of_text, target TokenBatch::kIgnored and group 0. What no model is to say (of
  /// conversations, all but the answers) is an ignored target, too.
  void read(int64_t begin, int64_t count, int64_t* tokens, int64_t* targets, int32_t* groups) const;

  /// Asks for the pages of these targets, without waiting for them.
  void will_read(int64_t begin, int64_t count) const;

 private:
  void ignore_unlearned(int64_t begin, int64_t count, int64_t* targets) const;
  int64_t token_before(int64_t target) const;
  int64_t document_at(int64_t target) const;

  std::shared_ptr<const CorpusContents> contents_;
  std::vector<int64_t> documents_;      // [m], indices into the corpus
  std::vector<int64_t> starts_;         // [m + 1], first target of each
  std::vector<int64_t> group_bytes_;    // [groups]
  std::vector<int64_t> group_targets_;  // [groups]
};

}  // namespace data
