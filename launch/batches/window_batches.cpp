#include "launch/batches/window_batches.h"

#include <ATen/ATen.h>

#include <algorithm>

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

std::vector<double> weights_of(const data::TokenMixture& mixture) {
  std::vector<double> weights;
  for (const data::TokenMixture::Source& source : mixture.sources()) weights.push_back(source.file.weight);
  return weights;
}

}  // namespace

WindowBatches::WindowBatches(const data::TokenMixture& mixture, const Recipe& recipe, data::Shard shard)
    : text_(mixture, data::Split::kTrain),
      mixture_(weights_of(mixture)),
      shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      sequence_length_(recipe.data.sequence_length),
      micro_batches_(recipe.train.micro_batches),
      micro_sequences_(recipe.train.global_batch / recipe.train.micro_batches) {
  for (const data::TokenMixture::Source& source : mixture.sources()) {
    const data::TokenStream& stream = text_.streams()[samplers_.size()];
    if (mixture.sources().size() > 1 && stream.size() < sequence_length_) {
      parallel::user_error(source.file.path, ": its training text has ", stream.size(),
                           " tokens, fewer than one sequence of ", sequence_length_,
                           " (data.sequence_length); prepare more text or leave the file out");
    }
    names_.push_back(source.name);
    samplers_.emplace_back(stream, sequence_length_);
  }
}

parallel::SpanScale WindowBatches::scale() const {
  int64_t windows = 0;
  for (const data::SequenceSampler& sampler : samplers_) windows += sampler.windows();
  return {.tokens_per_update = micro_batches_ * micro_sequences_ * sequence_length_,
          .tokens_per_epoch = windows * sequence_length_};
}

data::MixedWindow WindowBatches::window_at(int64_t position) const {
  const data::MixtureSampler::Draw draw = mixture_.draw_at(seed_, position);
  return {draw.source, samplers_[static_cast<size_t>(draw.source)].window_at(seed_, draw.index)};
}

std::vector<MicroBatch> WindowBatches::read(int64_t update) const {
  std::vector<MicroBatch> batches;
  const data::IndexRange own = data::split_range(micro_sequences_, shard_);
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const int64_t first = (update * micro_batches_ + m) * micro_sequences_;
    std::vector<data::MixedWindow> windows;
    for (int64_t i = own.begin; i < own.end; ++i) windows.push_back(window_at(first + i));
    batches.push_back(micro_batch(text_.read(sequence_length_, windows), own.begin, micro_sequences_));
  }
  return batches;
}

std::vector<SourceTokens> WindowBatches::source_tokens(int64_t updates) const {
  std::vector<SourceTokens> sources;
  if (names_.size() == 1) return sources;
  const std::vector<int64_t> draws = mixture_.draws_before(seed_, sequences_before(updates));
  for (size_t s = 0; s < names_.size(); ++s) {
    sources.push_back({names_[s], draws[s] * sequence_length_, samplers_[s].windows() * sequence_length_});
  }
  return sources;
}

HeldOutWindows::HeldOutWindows(const data::TokenMixture& mixture, const Recipe& recipe, data::Shard shard)
    : text_(mixture, data::Split::kHeldOut),
      shard_(shard),
      sequence_length_(recipe.data.sequence_length),
      batch_(recipe.evaluate.batch) {
  const bool several = mixture.sources().size() > 1;
  for (const data::TokenMixture::Source& source : mixture.sources()) {
    const auto s = static_cast<int64_t>(&source - mixture.sources().data());
    const data::TokenStream& stream = text_.streams()[static_cast<size_t>(s)];
    const int64_t windows = data::evaluation_windows(stream, sequence_length_);
    for (int64_t window = 0; window < windows; ++window) windows_.push_back({s, window});
    for (int64_t g = 0; g < stream.groups(); ++g) {
      groups_.push_back({.name = mixture.groups()[groups_.size()],
                         .bytes = stream.bytes_of_group(g),
                         .source = several ? source.name : ""});
    }
  }
  if (text_.size() > 0) return;
  parallel::user_error(
      recipe.data.file, ": holds out no text; prepare it with --heldout above 0 and text enough to take some away ",
      "(prepare notes where nothing is held out), train with evaluate.every = \"0u\", or evaluate another ",
      "token file (evaluate RUN --data FILE)");
}

int64_t HeldOutWindows::count() const { return (static_cast<int64_t>(windows_.size()) + batch_ - 1) / batch_; }

MicroBatch HeldOutWindows::read(int64_t index) const {
  const int64_t begin = index * batch_, count = std::min(batch_, static_cast<int64_t>(windows_.size()) - begin);
  const data::IndexRange own = data::split_range(count, shard_);
  const auto first = windows_.begin() + begin;
  // In evaluation places are those in the whole text, so that a stochastic router's draws are the same for any batch.
  return micro_batch(text_.read(sequence_length_, {first + own.begin, first + own.end}), begin + own.begin, count);
}

std::vector<HeldOutGroup> HeldOutWindows::groups() const { return groups_; }

}  // namespace launch
