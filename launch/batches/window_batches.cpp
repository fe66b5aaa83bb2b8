#include "launch/batches/window_batches.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// `first` and `sequences`: where this rank's windows stand in the micro-batch, and how many that has.
MicroBatch micro_batch(const data::TokenBatch& windows, int64_t first, int64_t sequences) {
  const int64_t length = windows.sequence_length;
  return {
      .batch = {.inputs = {.tokens = {.ids_T = at::tensor(windows.tokens, at::kLong),
                                      .sequences = moetrain::Sequences::uniform(windows.sequences, length, at::kCPU),
                                      .global_tokens = sequences * length,
                                      .first_token = first * length,
                                      .global_sequences = sequences,
                                      .first_sequence = first}},
                .targets_G = at::tensor(windows.targets, at::kLong)},
      .groups_T = at::tensor(windows.groups, at::kInt).to(at::kLong)};
}

}  // namespace

WindowBatches::WindowBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : stream_(corpus.stream(data::Split::kTrain)),
      sampler_(stream_, recipe.data.sequence_length),
      shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      sequence_length_(recipe.data.sequence_length),
      micro_batches_(recipe.train.micro_batches),
      micro_sequences_(recipe.train.global_batch / recipe.train.micro_batches) {}

parallel::SpanScale WindowBatches::scale() const {
  return {.tokens_per_update = micro_batches_ * micro_sequences_ * sequence_length_,
          .tokens_per_epoch = sampler_.windows() * sequence_length_};
}

std::vector<MicroBatch> WindowBatches::read(int64_t update) const {
  std::vector<MicroBatch> batches;
  const data::IndexRange own = data::split_range(micro_sequences_, shard_);
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const int64_t first = (update * micro_batches_ + m) * micro_sequences_ + own.begin;
    const auto indices = sampler_.windows_at(seed_, first, own.end - own.begin);
    batches.push_back(micro_batch(data::read_windows(stream_, sequence_length_, indices), own.begin, micro_sequences_));
  }
  return batches;
}

HeldOutWindows::HeldOutWindows(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : stream_(corpus.stream(data::Split::kHeldOut)),
      names_(corpus.groups()),
      shard_(shard),
      sequence_length_(recipe.data.sequence_length),
      batch_(recipe.evaluate.batch),
      windows_(data::evaluation_windows(stream_, sequence_length_)) {
  if (stream_.size() > 0) return;
  parallel::user_error(
      recipe.data.file, ": holds out no text; prepare it with --heldout above 0 and text enough to take some away ",
      "(prepare notes where nothing is held out), train with evaluate.every = \"0u\", or evaluate another ",
      "token file (evaluate RUN --data FILE)");
}

int64_t HeldOutWindows::count() const { return (windows_ + batch_ - 1) / batch_; }

MicroBatch HeldOutWindows::read(int64_t index) const {
  const int64_t begin = index * batch_, count = std::min(batch_, windows_ - begin);
  const data::IndexRange own = data::split_range(count, shard_);
  std::vector<int64_t> indices(static_cast<size_t>(own.end - own.begin));
  std::iota(indices.begin(), indices.end(), begin + own.begin);
  // In evaluation places are those in the whole text, so that a stochastic router's draws are the same for any batch.
  return micro_batch(data::read_windows(stream_, sequence_length_, indices), begin + own.begin, count);
}

std::vector<HeldOutGroup> HeldOutWindows::groups() const {
  std::vector<HeldOutGroup> all;
  for (size_t g = 0; g < names_.size(); ++g) {
    all.push_back({names_[g], stream_.bytes_of_group(static_cast<int64_t>(g))});
  }
  return all;
}

}  // namespace launch
