#include "launch/training/pair_batches.h"

#include <ATen/ATen.h>

#include <span>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// Tokens of pairs, and how many lie before a place.
struct PairCount {
  int64_t pairs = 0, source = 0, target = 0;
};

PairCount count_pairs(const data::ParallelText& text, std::span<const int64_t> pairs) {
  PairCount count{.pairs = static_cast<int64_t>(pairs.size())};
  for (const int64_t pair : pairs) {
    count.source += text.pair(pair).source_length;
    count.target += text.pair(pair).target_length;
  }
  return count;
}

/// This rank's part of `pairs`; `before`: what lies before them in the text, in evaluation.
MicroBatch micro_batch(const data::ParallelText& text, std::span<const int64_t> pairs, data::Shard shard,
                       const PairCount& before) {
  const data::IndexRange own = data::split_range(static_cast<int64_t>(pairs.size()), shard);
  const auto begin = static_cast<size_t>(own.begin);
  const PairCount all = count_pairs(text, pairs), earlier = count_pairs(text, pairs.first(begin));
  const data::PairBatch read = data::read_pairs(text, {pairs.begin() + own.begin, pairs.begin() + own.end});
  const int64_t first_pair = before.pairs + own.begin;
  const moetrain::TokenSide source{.ids_T = at::tensor(read.source_tokens, at::kLong),
                                   .sequences = {read.source_lengths, at::kCPU},
                                   .global_tokens = all.source,
                                   .first_token = before.source + earlier.source,
                                   .global_sequences = all.pairs,
                                   .first_sequence = first_pair};
  const moetrain::TokenSide target{.ids_T = at::tensor(read.target_inputs, at::kLong),
                                   .sequences = {read.target_lengths, at::kCPU},
                                   .global_tokens = all.target,
                                   .first_token = before.target + earlier.target,
                                   .global_sequences = all.pairs,
                                   .first_sequence = first_pair};
  const at::Tensor direction_S = at::tensor(read.directions, at::kInt).to(at::kLong);
  return {.batch = {.inputs = {.tokens = target, .source = source}, .targets_T = at::tensor(read.targets, at::kLong)},
          .groups_T = at::repeat_interleave(direction_S, at::tensor(read.target_lengths, at::kLong)),
          .source_groups_T = at::repeat_interleave(direction_S, at::tensor(read.source_lengths, at::kLong))};
}

}  // namespace

data::PairSelection pair_selection(const Recipe& recipe) {
  return {.directions = recipe.data.directions, .longest = recipe.data.longest, .rows = recipe.data.rows};
}

PairBatches::PairBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : text_(corpus, data::Split::kTrain, pair_selection(recipe)),
      sampler_(text_, {.batch_tokens = recipe.train.batch_tokens, .temperature = recipe.data.temperature},
               static_cast<uint64_t>(recipe.run.seed)),
      shard_(shard),
      micro_batches_(recipe.train.micro_batches) {}

parallel::SpanScale PairBatches::scale() const {
  const data::PairTokens tokens = sampler_.tokens_in_epoch(0);
  const int64_t all = tokens.source + tokens.target;
  return {.tokens_per_update = all / sampler_.batches_in_epoch(0), .tokens_per_epoch = all};
}

std::string PairBatches::left_out() const {
  if (text_.skipped() == 0) return {};
  return parallel::concat(text_.skipped(), " pairs are longer than data.longest tokens on a side and left out; ",
                          text_.size(), " are trained on");
}

int64_t PairBatches::sequences_per_micro_batch() const {
  int64_t pairs = 0;
  for (size_t d = 0; d < text_.directions().size(); ++d) pairs += sampler_.pairs_in_epoch(0, static_cast<int32_t>(d));
  return pairs / sampler_.batches_in_epoch(0) / micro_batches_;
}

std::vector<MicroBatch> PairBatches::read(int64_t update) const {
  const std::vector<int64_t> pairs = sampler_.batch(update);
  std::vector<MicroBatch> batches;
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const data::IndexRange part = data::split_range(static_cast<int64_t>(pairs.size()), {m, micro_batches_});
    if (part.begin == part.end) continue;
    batches.push_back(micro_batch(
        text_, std::span(pairs).subspan(static_cast<size_t>(part.begin), static_cast<size_t>(part.end - part.begin)),
        shard_, {}));
  }
  return batches;
}

HeldOutPairs::HeldOutPairs(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : text_(corpus, data::Split::kHeldOut,
            {.directions = recipe.data.directions, .longest = recipe.data.longest, .rows = 0}),
      batches_(data::evaluation_batches(text_, recipe.train.batch_tokens)),
      shard_(shard) {}

MicroBatch HeldOutPairs::read(int64_t index) const {
  // Places are those among all held-out pairs, so that a stochastic router's draws are the same for any batch.
  PairCount before;
  for (int64_t i = 0; i < index; ++i) {
    const PairCount batch = count_pairs(text_, batches_[static_cast<size_t>(i)]);
    before = {before.pairs + batch.pairs, before.source + batch.source, before.target + batch.target};
  }
  return micro_batch(text_, batches_[static_cast<size_t>(index)], shard_, before);
}

std::vector<HeldOutGroup> HeldOutPairs::groups() const {
  std::vector<HeldOutGroup> all;
  for (size_t d = 0; d < text_.directions().size(); ++d) {
    HeldOutGroup group{text_.directions()[d].name, 0};
    const data::IndexRange pairs = text_.pairs_of(static_cast<int32_t>(d));
    for (int64_t pair = pairs.begin; pair < pairs.end; ++pair) {
      group.bytes += text_.corpus().document(text_.pair(pair).target_document).bytes;
    }
    all.push_back(std::move(group));
  }
  return all;
}

}  // namespace launch
