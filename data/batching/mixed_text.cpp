#include "data/batching/mixed_text.h"

#include <utility>

#include "data/batching/sequence_sampler.h"

namespace data {

MixedText::MixedText(const TokenMixture& mixture, Split split) {
  for (const TokenMixture::Source& source : mixture.sources()) {
    streams_.push_back(source.corpus.stream(split));
    first_group_.push_back(static_cast<int32_t>(source.first_group));
  }
}

int64_t MixedText::size() const {
  int64_t tokens = 0;
  for (const TokenStream& stream : streams_) tokens += stream.size();
  return tokens;
}

TokenBatch MixedText::read(int64_t sequence_length, const std::vector<MixedWindow>& windows) const {
  const auto stream_of = [&](const MixedWindow& each) -> const TokenStream& {
    return streams_[static_cast<size_t>(each.source)];
  };
  for (const MixedWindow& each : windows) {
    stream_of(each).will_read(each.window * sequence_length, sequence_length);
  }
  TokenBatch batch = empty_windows(sequence_length, static_cast<int64_t>(windows.size()));
  size_t at = 0;
  for (const MixedWindow& each : windows) {
    stream_of(each).read(each.window * sequence_length, sequence_length, &batch.tokens[at], &batch.targets[at],
                         &batch.groups[at]);
    const size_t end = at + static_cast<size_t>(sequence_length);
    for (; at < end; ++at) batch.groups[at] += first_group_[static_cast<size_t>(each.source)];
  }
  return batch;
}

}  // namespace data
