// defines: MixedText, MixedWindow: one split of every file of a mixture, read in windows
#pragma once
#include <vector>

#include "data/batch.h"
#include "data/datasets/token_mixture.h"
#include "data/datasets/token_stream.h"

namespace data {

/// Window `window` of source `source`: targets [window * L, (window + 1) * L) of its stream.
struct MixedWindow {
  int64_t source = 0;
  int64_t window = 0;
};

/// Cheap to copy; any number of threads may read.
class MixedText {
 public:
  MixedText(const TokenMixture& mixture, Split split);

  const std::vector<TokenStream>& streams() const { return streams_; }  // of each source
  int64_t size() const;                                                 // target tokens of all

  /// Sequences of L = sequence_length, padded past the end of their stream; groups are those of the mixture. The pages
  /// of all of them are asked for before the first is read, so that a disk sees them together.
  TokenBatch read(int64_t sequence_length, const std::vector<MixedWindow>& windows) const;

 private:
  std::vector<TokenStream> streams_;
  std::vector<int32_t> first_group_;  // of each source
};

}  // namespace data
