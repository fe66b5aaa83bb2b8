#include "launch/batches/pair_batches.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "parallel/base/fault.h"

namespace launch {
namespace {

/// What pairs are read of.
struct PairsOf {
  const data::ParallelText& text;
  const std::vector<int64_t>& task_of_direction;  // empty: there are no tasks
  data::Shard shard;
  int64_t start = -1;       // token of each target
  int64_t first_group = 0;  // number of the text's first direction among all
};

/// This rank's part of `pairs`; `before`: what lies before them in the text, in evaluation.
MicroBatch micro_batch(const PairsOf& of, std::span<const int64_t> pairs, const PairPlace& before) {
  const auto& [text, task_of_direction, shard, start, first_group] = of;
  const data::IndexRange own = data::split_range(static_cast<int64_t>(pairs.size()), shard);
  const auto begin = static_cast<size_t>(own.begin);
  const data::PairTokens all = data::count_tokens(text, pairs), earlier = data::count_tokens(text, pairs.first(begin));
  const data::PairBatch read = data::read_pairs(text, {pairs.begin() + own.begin, pairs.begin() + own.end}, start);
  data::PairTokens longest;
  for (const int64_t pair : pairs) {
    const data::PairTokens one = data::count_tokens(text, std::span(&pair, 1));
    longest = {std::max(longest.source, one.source), std::max(longest.target, one.target)};
  }
  const at::Tensor direction_S = at::tensor(read.directions, at::kInt).to(at::kLong);
  const at::Tensor task_S =
      task_of_direction.empty() ? at::Tensor() : at::tensor(task_of_direction, at::kLong).index_select(0, direction_S);
  const at::Tensor group_S = direction_S + first_group;
  const auto side_of = [&](const std::vector<int64_t>& tokens, const std::vector<int64_t>& lengths,
                           int64_t data::PairTokens::*side) {
    return moetrain::TokenSide{.ids_T = at::tensor(tokens, at::kLong),
                               .sequences = {lengths, at::kCPU},
                               .global_tokens = all.*side,
                               .first_token = before.tokens.*side + earlier.*side,
                               .global_sequences = static_cast<int64_t>(pairs.size()),
                               .first_sequence = before.pairs + own.begin,
                               .longest = longest.*side,
                               .task_S = task_S};
  };
  return {.batch = {.inputs = {.tokens = side_of(read.target_inputs, read.target_lengths, &data::PairTokens::target),
                               .source = side_of(read.source_tokens, read.source_lengths, &data::PairTokens::source)},
                    .targets_G = at::tensor(read.targets, at::kLong)},
          .groups_T = at::repeat_interleave(group_S, at::tensor(read.target_lengths, at::kLong)),
          .source_groups_T = at::repeat_interleave(group_S, at::tensor(read.source_lengths, at::kLong)),
          .groups_S = group_S};
}

}  // namespace

data::PairSelection pair_selection(const Recipe& recipe, data::Split split) {
  return {.directions = recipe.data.directions,
          .longest = recipe.data.longest,
          .rows = split == data::Split::kTrain ? recipe.data.rows : 0};
}

std::vector<int64_t> direction_tasks(const data::ParallelText& text, const Recipe& recipe, data::AbsentTask absent) {
  return data::tasks_of_directions(text, data::task_names(recipe.tasks), absent);
}

PairBatches::PairBatches(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : shard_(shard),
      seed_(static_cast<uint64_t>(recipe.run.seed)),
      micro_batches_(recipe.train.micro_batches),
      start_(recipe.model.start_token) {
  add_part(corpus, recipe, recipe.data.directions);
  const std::vector<std::string> tasks = data::task_names(recipe.tasks);
  if (tasks.empty() || recipe.tasks.each != data::TaskUnit::kUpdate) return;
  const data::ParallelText all = std::exchange(parts_, {}).front().text;
  for (const data::Direction& direction : all.directions()) {
    add_part(corpus, recipe, direction.name);
    parts_.back().first_group = std::ssize(parts_) - 1;
  }
  take_turns(recipe);
}

void PairBatches::add_part(const data::TokenCorpus& corpus, const Recipe& recipe, const std::string& directions) {
  data::PairSelection selection = pair_selection(recipe, data::Split::kTrain);
  selection.directions = directions;
  const data::ParallelText text(corpus, data::Split::kTrain, selection);
  const bool all = directions == recipe.data.directions;
  const auto absent = all ? data::AbsentTask::kRefused : data::AbsentTask::kPassedOver;
  const data::PairSampler::Options options{.batch_tokens = recipe.train.batch_tokens,
                                           .temperature = recipe.data.temperature};
  parts_.push_back({.text = text,
                    .sampler = data::PairSampler(text, options, seed_),
                    .task_of_direction = direction_tasks(text, recipe, absent)});
}

void PairBatches::take_turns(const Recipe& recipe) {
  if (recipe.tasks.sampling == data::TaskSampling::kRoundRobin) {
    turns_.emplace(std::ssize(parts_), /*sequences=*/1);
    for (Part& part : parts_) part.share = 1.0 / static_cast<double>(parts_.size());
    return;
  }
  std::vector<double> sizes;
  for (const Part& part : parts_) sizes.push_back(static_cast<double>(part.text.size()));
  std::vector<double> weights = data::tempered(std::move(sizes), recipe.data.temperature);
  for (double& weight : weights) weight = std::max(weight, std::numeric_limits<double>::min());  // each has its turns
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t p = 0; p < parts_.size(); ++p) parts_[p].share = weights[p] / all;
  turns_.emplace(weights, /*sequences=*/1);
}

int64_t PairBatches::Part::pairs_in_epoch() const {
  int64_t pairs = 0;
  for (size_t d = 0; d < text.directions().size(); ++d) pairs += sampler.pairs_in_epoch(0, static_cast<int32_t>(d));
  return pairs;
}

parallel::SpanScale PairBatches::scale() const {
  double per_update = 0;
  int64_t all = 0;
  for (const Part& part : parts_) {
    const data::PairTokens tokens = part.sampler.tokens_in_epoch(0);
    all += tokens.source + tokens.target;
    const int64_t mean = (tokens.source + tokens.target) / part.sampler.batches_in_epoch(0);
    per_update += part.share * static_cast<double>(mean);
  }
  return {.tokens_per_update = std::llround(per_update), .tokens_per_epoch = all};
}

std::string PairBatches::left_out() const {
  int64_t skipped = 0, pairs = 0;
  for (const Part& part : parts_) skipped += part.text.skipped(), pairs += part.text.size();
  if (skipped == 0) return {};
  return parallel::concat(skipped, " pairs are longer than data.longest tokens on a side and left out; ", pairs,
                          " are trained on");
}

int64_t PairBatches::sequences_per_micro_batch() const {
  double pairs = 0;
  for (const Part& part : parts_) {
    pairs += part.share * static_cast<double>(part.pairs_in_epoch() / part.sampler.batches_in_epoch(0));
  }
  return std::llround(std::floor(pairs)) / micro_batches_;
}

std::vector<MicroBatch> PairBatches::read(int64_t update) const {
  const data::MixtureSampler::Draw drawn =
      turns_ ? turns_->draw_at(seed_, update) : data::MixtureSampler::Draw{.source = 0, .index = update};
  const Part& from = parts_[static_cast<size_t>(drawn.source)];
  const std::vector<int64_t> pairs = from.sampler.batch(drawn.index);
  std::vector<MicroBatch> batches;
  for (int64_t m = 0; m < micro_batches_; ++m) {
    const data::IndexRange part = data::split_range(static_cast<int64_t>(pairs.size()), {m, micro_batches_});
    if (part.begin == part.end) continue;
    batches.push_back(micro_batch(
        {from.text, from.task_of_direction, shard_, start_, from.first_group},
        std::span(pairs).subspan(static_cast<size_t>(part.begin), static_cast<size_t>(part.end - part.begin)), {}));
  }
  return batches;
}

HeldOutPairs::HeldOutPairs(const data::TokenCorpus& corpus, const Recipe& recipe, data::Shard shard)
    : text_(corpus, data::Split::kHeldOut, pair_selection(recipe, data::Split::kHeldOut)),
      task_of_direction_(direction_tasks(text_, recipe, data::AbsentTask::kPassedOver)),
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
  return micro_batch({text_, task_of_direction_, shard_, start_}, batches_[i], places_[i]);
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
