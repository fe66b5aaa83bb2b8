#include "data/batching/sequence_sampler.h"

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {

SequenceSampler::SequenceSampler(const TokenStream& stream, int64_t sequence_length)
    : windows_(stream.size() / sequence_length) {
  if (windows_ > 0) return;
  parallel::user_error("the training text has ", stream.size(), " tokens, fewer than one sequence of ", sequence_length,
                       " (data.sequence_length); prepare more text or choose shorter sequences");
}

int64_t item_at(uint64_t seed, int64_t position, int64_t items) {
  parallel::check_internal(position >= 0, "position ", position, " in the data order");
  const parallel::RandomStream order(seed, "data order", 0, position / items);
  return parallel::permuted_index(order, position % items, items);
}

int64_t SequenceSampler::window_at(uint64_t seed, int64_t position) const { return item_at(seed, position, windows_); }

std::vector<int64_t> SequenceSampler::windows_at(uint64_t seed, int64_t begin, int64_t count) const {
  return items_at(seed, begin, count, windows_);
}

std::vector<int64_t> items_at(uint64_t seed, int64_t begin, int64_t count, int64_t items) {
  std::vector<int64_t> all;
  all.reserve(static_cast<size_t>(count));
  for (int64_t position = begin; position < begin + count; ++position) all.push_back(item_at(seed, position, items));
  return all;
}

int64_t evaluation_windows(const TokenStream& stream, int64_t sequence_length) {
  return (stream.size() + sequence_length - 1) / sequence_length;
}

TokenBatch empty_windows(int64_t sequence_length, int64_t sequences) {
  const auto size = static_cast<size_t>(sequences * sequence_length);
  TokenBatch batch{.sequences = sequences, .sequence_length = sequence_length};
  batch.tokens.resize(size);
  batch.targets.resize(size);
  batch.groups.resize(size);
  return batch;
}

TokenBatch read_windows(const TokenStream& stream, int64_t sequence_length, const std::vector<int64_t>& indices) {
  TokenBatch batch = empty_windows(sequence_length, static_cast<int64_t>(indices.size()));
  size_t at = 0;
  for (const int64_t index : indices) {
    stream.read(index * sequence_length, sequence_length, &batch.tokens[at], &batch.targets[at], &batch.groups[at]);
    at += static_cast<size_t>(sequence_length);
  }
  return batch;
}

}  // namespace data
