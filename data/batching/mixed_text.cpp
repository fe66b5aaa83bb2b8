#include "data/batching/mixed_text.h"

#include <algorithm>
#include <utility>

#include "data/batching/sequence_sampler.h"

namespace data {

MixedText::MixedText(const TokenMixture& mixture, std::vector<TextPart> parts, Split split) : parts_(std::move(parts)) {
  for (const TextPart& part : parts_) {
    const TokenMixture::Source& source = mixture.sources()[static_cast<size_t>(part.source)];
    const auto p = static_cast<int64_t>(streams_.size());
    streams_.push_back(part.group < 0 ? source.corpus.stream(split) : source.corpus.stream(split, part.group));
    first_group_.push_back(static_cast<int32_t>(groups_.size()));
    for (int64_t g = 0; g < streams_.back().groups(); ++g) {
      if (part.group >= 0 && part.group != g) continue;
      const std::string& name = mixture.groups()[static_cast<size_t>(source.first_group + g)];
      groups_.push_back({.name = name, .part = p, .bytes = streams_.back().bytes_of_group(g)});
    }
  }
}

int64_t MixedText::size() const {
  int64_t tokens = 0;
  for (const TokenStream& stream : streams_) tokens += stream.size();
  return tokens;
}

TokenBatch MixedText::read(int64_t sequence_length, const std::vector<MixedWindow>& windows) const {
  const auto stream_of = [&](const MixedWindow& each) -> const TokenStream& {
    return streams_[static_cast<size_t>(each.part)];
  };
  for (const MixedWindow& each : windows) {
    stream_of(each).will_read(each.window * sequence_length, sequence_length);
  }
  TokenBatch batch = empty_windows(sequence_length, static_cast<int64_t>(windows.size()));
  if (parts_.front().task >= 0) batch.tasks.emplace();
  size_t at = 0;
  for (const MixedWindow& each : windows) {
    const auto part = static_cast<size_t>(each.part);
    stream_of(each).read(each.window * sequence_length, sequence_length, &batch.tokens[at], &batch.targets[at],
                         &batch.groups[at]);
    const size_t end = at + static_cast<size_t>(sequence_length);
    for (; at < end; ++at) {
      batch.groups[at] = first_group_[part] + (parts_[part].group < 0 ? batch.groups[at] : 0);
    }
    if (batch.tasks) batch.tasks->push_back(parts_[part].task);
  }
  return batch;
}

}  // namespace data
