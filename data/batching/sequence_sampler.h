// defines: SequenceSampler, item_at, items_at, evaluation_windows, empty_windows, read_windows
#pragma once
#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/datasets/token_stream.h"

namespace data {

/// Windows of L targets over a stream: window i covers targets [i * L, (i + 1) * L). Training visits each full window
/// once per epoch in a shuffled order that is a function of (seed, epoch) alone; the fewer than L targets left over are
/// not trained on. Has no state: the position, the number of sequences consumed over the whole run, says everything, so
/// a resumed run and any number of ranks continue the same order.
class SequenceSampler {
 public:
  /// UserError where the stream is shorter than one window.
  SequenceSampler(const TokenStream& stream, int64_t sequence_length);

  int64_t windows() const { return windows_; }  // full windows: the sequences of one epoch
  /// The window at `position` >= 0 of the run; epoch = position / windows().
  int64_t window_at(uint64_t seed, int64_t position) const;
  /// The windows at positions [begin, begin + count).
  std::vector<int64_t> windows_at(uint64_t seed, int64_t begin, int64_t count) const;

 private:
  int64_t windows_;
};

/// What stands at `position` >= 0 of a run that visits `items` things once an epoch, in a shuffled order that is a
/// function of (seed, epoch) alone.
int64_t item_at(uint64_t seed, int64_t position, int64_t items);

/// What stands at positions [begin, begin + count).
std::vector<int64_t> items_at(uint64_t seed, int64_t begin, int64_t count, int64_t items);

/// Windows that cover every target of the stream, the last one possibly padded: what an evaluation reads in order.
int64_t evaluation_windows(const TokenStream& stream, int64_t sequence_length);

/// Room for S = `sequences` sequences of L = sequence_length.
TokenBatch empty_windows(int64_t sequence_length, int64_t sequences);

/// S = indices.size() sequences of L = sequence_length, padded with TokenBatch::kIgnored past the stream's end.
TokenBatch read_windows(const TokenStream& stream, int64_t sequence_length, const std::vector<int64_t>& indices);

}  // namespace data
