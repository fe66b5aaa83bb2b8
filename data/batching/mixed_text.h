// defines: MixedText, MixedWindow: one split of the parts of a mixture, read in windows
#pragma once
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/batching/text_parts.h"
#include "data/datasets/token_stream.h"

namespace data {

/// Window `window` of part `part`: targets [window * L, (window + 1) * L) of its stream.
struct MixedWindow {
  int64_t part = 0;
  int64_t window = 0;
};

/// Cheap to copy; any number of threads may read.
class MixedText {
 public:
  MixedText(const TokenMixture& mixture, std::vector<TextPart> parts, Split split);

  const std::vector<TextPart>& parts() const { return parts_; }
  const std::vector<TokenStream>& streams() const { return streams_; }  // of each part
  int64_t size() const;                                                 // target tokens of all

  /// What batches count their targets by, in the order of the parts.
  struct Group {
    std::string name;   // the mixture's
    int64_t part = 0;   // of this text
    int64_t bytes = 0;  // of text
  };
  const std::vector<Group>& groups() const { return groups_; }

  /// Sequences of L = sequence_length, padded past the end of their stream; groups are those of groups(), and with
  /// tasks each sequence has its own. The pages of all of them are asked for before the first is read, so that a disk
  /// sees them together.
  TokenBatch read(int64_t sequence_length, const std::vector<MixedWindow>& windows) const;

 private:
  std::vector<TextPart> parts_;
  std::vector<TokenStream> streams_;
  std::vector<Group> groups_;
  std::vector<int32_t> first_group_;  // of each part
};

}  // namespace data
