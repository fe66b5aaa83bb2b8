#include "launch/batches/pair_batches.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// This rank's part of `pairs`; `before`: what lies before them in the text, in evaluation; `start`: of each target.
MicroBatch micro_batch(const data::ParallelText& text, std::span<const int64_t> pairs, data::Shard shard,
                       const PairPlace& before, int64_t start) {
  const data::IndexRange own = data::split_range(static_cast<int64_t>(pairs.size()), shard);
  const auto begin = static_cast<size_t>(own.begin);
  const data::PairTokens all = data::count_tokens(text, pairs), earlier = data::count_tokens(text, pairs.first(begin));
  const data::PairBatch read = data::read_pairs(text, {pairs.begin() + own.begin, pairs.begin() + own.end}, start);
  data::PairTokens longest;
  for (const int64_t pair : pairs) {
    const data::PairTokens one = data::count_tokens(text, std::span(&pair, 1));
    longest = {std::max(longest.source, one.source), std::max(longest.target, one.target)};
  }
  const auto side_of = [&](const std::vector<int64_t>& tokens, const std::vector<int64_t>& lengths,
                           int64_t data::PairTokens::*side) {
    return moetrain::TokenSide{.ids_T = at::tensor(tokens, at::kLong),
                               .sequences = {lengths, at::kCPU},
                               .global_tokens = all.*side,
                               .first_token = before.tokens.*side + earlier.*side,
                               .global_sequences = static_cast<int64_t>(pairs.size()),
                               .first_sequence = before.pairs + own.begin,
                               .longest = longest.*side};
  };
  const at::Tensor direction_S = at::tensor(read.directions, at::kInt).to(at::kLong);
  return {.batch = {.inputs = {.tokens = side_of(read.target_inputs, read.target_lengths, &data::PairTokens::target),
                               .source = side_of(read.source_tokens, read.source_lengths, &data::PairTokens::source)},
                    .targets_G = at::tensor(read.targets, at::kLong)},
          .groups_T = at::repeat_interleave(direction_S, at::tensor(read.target_lengths, at::kLong)),
          .source_groups_T = at::repeat_interleave(direction_S, at::tensor(read.source_lengths, at::kLong)),
          .groups_S = direction_S};
}

}  // namespace

data::PairSelection pair_selection(const Recipe& recipe, data::Split split) {
  return {.directions = recipe.data.directions,
          .longest = recipe.data.longest,
          .rows = split == data::Split::kTrain ? recipe.data.rows : 0};
}

PairBatches::PairBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : text_(corpus, data::Split::kTrain, pair_selection(recipe, data::Split::kTrain)),
      sampler_(text_, {.batch_tokens = recipe.train.batch_tokens, .temperature = recipe.data.temperature},
               static_cast<uint64_t>(recipe.run.seed)),
      shard_(shard),
      micro_batches_(recipe.train.micro_batches),
      start_(recipe.model.start_token) {}

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
        shard_, {}, start_));
  }
  return batches;
}

HeldOutPairs::HeldOutPairs(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : text_(corpus, data::Split::kHeldOut, pair_selection(recipe, data::Split::kHeldOut)),
      batches_(data::evaluation_batches(text_, recipe.train.batch_tokens)),
      shard_(shard),
      start_(recipe.model.start_token) {
  PairPlace place;
  for (const std::vector<int64_t>& batch : batches_) {
    places_.push_back(place);
    const data::PairTokens tokens = data::count_tokens(text_, batch);
    place.pairs += static_cast<int64_t>(batch.size());
    place.tokens = {place.tokens.source + tokens.source, place.tokens.target + tokens.target};
  }
}

MicroBatch HeldOutPairs::read(int64_t index) const {
  const auto i = static_cast<size_t>(index);
  return micro_batch(text_, batches_[i], shard_, places_[i], start_);
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
