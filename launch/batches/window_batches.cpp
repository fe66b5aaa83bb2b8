#include "launch/batches/window_batches.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

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
                                      .first_sequence = first,
                                      .task_S = windows.tasks ? at::tensor(*windows.tasks, at::kLong) : at::Tensor()}},
                .targets_G = at::tensor(windows.targets, at::kLong)},
      .groups_T = at::tensor(windows.groups, at::kInt).to(at::kLong)};
}

std::vector<data::SequenceSampler> samplers_of(const data::TokenMixture& mixture, const data::MixedText& text,
                                               int64_t length) {
  std::vector<data::SequenceSampler> samplers;
  for (size_t p = 0; p < text.parts().size(); ++p) {
    const data::TextPart& part = text.parts()[p];
    const std::string& file = mixture.sources()[static_cast<size_t>(part.source)].file.path;
    const data::TokenStream& stream = text.streams()[p];
    if (part.task >= 0 && stream.size() < length) {
      parallel::user_error("tasks.names: the training text of the task '", part.name, "' in ", file, " has ",
                           stream.size(), " tokens, fewer than one sequence of ", length,
                           " (data.sequence_length); prepare more text or leave the task out");
    }
    if (mixture.sources().size() > 1 && stream.size() < length) {
      parallel::user_error(file, ": its training text has ", stream.size(), " tokens, fewer than one sequence of ",
                           length, " (data.sequence_length); prepare more text or leave the file out");
    }
    samplers.emplace_back(stream, length);
  }
  return samplers;
}

data::TaskSampler order_of(const data::TokenMixture& mixture, const data::MixedText& text,
                           const std::vector<data::SequenceSampler>& samplers, const Recipe& recipe) {
  const data::TaskConfig& tasks = recipe.tasks;
  const int64_t together = tasks.each == data::TaskUnit::kUpdate ? recipe.train.global_batch
                           : tasks.each == data::TaskUnit::kMicroBatch
                               ? recipe.train.global_batch / recipe.train.micro_batches
                               : 1;
  if (tasks.sampling == data::TaskSampling::kRoundRobin) return {std::ssize(samplers), together};
  std::vector<int64_t> sequences;
  for (const data::SequenceSampler& sampler : samplers) sequences.push_back(sampler.windows());
  return {data::part_weights(mixture, text.parts(), sequences, tasks), together};
}

/// A sentence on it; empty where there is none.
std::string text_without_task(const data::TokenMixture& mixture, const std::vector<std::string>& tasks) {
  if (tasks.empty()) return {};
  const std::vector<int64_t> task = data::tasks_of_groups(mixture, tasks, data::AbsentTask::kRefused);
  std::vector<std::string> without;
  for (size_t g = 0; g < task.size(); ++g) {
    if (task[g] < 0) without.push_back(mixture.groups()[g]);
  }
  if (without.empty()) return {};
  return parallel::concat("text of ", without.size(),
                          " groups is of none of tasks.names and left out: ", parallel::quote_some(without));
}

}  // namespace

WindowBatches::WindowBatches(const data::TokenMixture& mixture, const Recipe& recipe, data::Shard shard)
    : text_(mixture, data::text_parts(mixture, recipe.tasks, data::AbsentTask::kRefused), data::Split::kTrain),
      shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      sequence_length_(recipe.data.sequence_length),
      micro_batches_(recipe.train.micro_batches),
      micro_sequences_(recipe.train.global_batch / recipe.train.micro_batches),
      samplers_(samplers_of(mixture, text_, sequence_length_)),
      order_(order_of(mixture, text_, samplers_, recipe)),
      left_out_(text_without_task(mixture, data::task_names(recipe.tasks))) {}

parallel::SpanScale WindowBatches::scale() const {
  int64_t windows = 0;
  for (const data::SequenceSampler& sampler : samplers_) windows += sampler.windows();
  return {.tokens_per_update = micro_batches_ * micro_sequences_ * sequence_length_,
          .tokens_per_epoch = windows * sequence_length_};
}

data::MixedWindow WindowBatches::window_at(int64_t position) const {
  const data::MixtureSampler::Draw draw = order_.draw_at(seed_, position);
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
  if (samplers_.size() == 1) return sources;
  const std::vector<int64_t> draws = order_.draws_before(seed_, sequences_before(updates));
  for (size_t p = 0; p < samplers_.size(); ++p) {
    sources.push_back({text_.parts()[p].name, draws[p] * sequence_length_, samplers_[p].windows() * sequence_length_});
  }
  return sources;
}

HeldOutWindows::HeldOutWindows(const data::TokenMixture& mixture, const Recipe& recipe, data::Shard shard)
    : text_(mixture, data::text_parts(mixture, recipe.tasks, data::AbsentTask::kPassedOver), data::Split::kHeldOut),
      shard_(shard),
      sequence_length_(recipe.data.sequence_length),
      batch_(recipe.evaluate.batch) {
  for (size_t p = 0; p < text_.parts().size(); ++p) {
    const int64_t windows = data::evaluation_windows(text_.streams()[p], sequence_length_);
    for (int64_t window = 0; window < windows; ++window) windows_.push_back({static_cast<int64_t>(p), window});
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

std::vector<HeldOutGroup> HeldOutWindows::groups() const {
  const bool several = text_.parts().size() > 1;
  std::vector<HeldOutGroup> all;
  for (const data::MixedText::Group& group : text_.groups()) {
    const std::string& part = text_.parts()[static_cast<size_t>(group.part)].name;
    all.push_back({.name = group.name, .bytes = group.bytes, .source = several ? part : ""});
  }
  return all;
}

}  // namespace launch
