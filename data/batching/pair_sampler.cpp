#include "data/batching/pair_sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"

namespace data {
namespace {

int64_t both_sides(const ParallelText::Pair& pair) { return pair.source_length + pair.target_length; }

/// Cuts a sequence of lengths into batches, greedily.
class BatchCutter {
 public:
  explicit BatchCutter(int64_t most_tokens) : most_tokens_(most_tokens) {}

  /// Whether the next pair, of `length` tokens, begins a new batch.
  bool begins_batch(int64_t length) {
    const bool begins = !begun_ || tokens_ + length > most_tokens_;
    begun_ = true;
    tokens_ = begins ? length : tokens_ + length;
    return begins;
  }

 private:
  int64_t most_tokens_;
  int64_t tokens_ = 0;
  bool begun_ = false;
};

/// First index of each batch, and the number of all pairs.
std::vector<int64_t> cut_batches(const ParallelText& text, const std::vector<int64_t>& sorted, int64_t most_tokens) {
  BatchCutter cutter(most_tokens);
  std::vector<int64_t> starts;
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (cutter.begins_batch(both_sides(text.pair(sorted[i])))) starts.push_back(static_cast<int64_t>(i));
  }
  starts.push_back(static_cast<int64_t>(sorted.size()));
  return starts;
}

/// n_d^(1/T), scaled so that all together are the text's pairs.
std::vector<double> temper(const ParallelText& text, double temperature) {
  if (!(temperature > 0)) parallel::user_error("data.temperature is ", temperature, "; it must be above 0");
  std::vector<double> weight;
  for (int32_t d = 0; d < static_cast<int32_t>(text.directions().size()); ++d) {
    const IndexRange pairs = text.pairs_of(d);
    weight.push_back(static_cast<double>(pairs.end - pairs.begin));
  }
  weight = tempered(std::move(weight), temperature);
  const double all = std::accumulate(weight.begin(), weight.end(), 0.0);
  for (double& w : weight) w *= static_cast<double>(text.size()) / all;
  return weight;
}

}  // namespace

std::vector<double> tempered(std::vector<double> sizes, double temperature) {
  const double most = *std::max_element(sizes.begin(), sizes.end());
  for (double& size : sizes) size = std::pow(size / most, 1 / temperature);
  return sizes;
}

PairSampler::PairSampler(const ParallelText& text, const Options& options, uint64_t seed)
    : text_(text),
      batch_tokens_(options.batch_tokens),
      seed_(seed),
      pairs_an_epoch_(temper(text, options.temperature)),
      pairs_of_length_(text.directions().size()) {
  for (int64_t index = 0; index < text_.size(); ++index) {
    const int64_t length = length_of(index);
    if (length > batch_tokens_) {
      parallel::user_error("the pair of '", text_.corpus().document(text_.pair(index).source_document).name, "' has ",
                           length, " tokens, more than a batch (train.batch_tokens = ", batch_tokens_,
                           "); choose larger batches, or a smaller data.longest to leave such pairs out");
    }
    longest_ = std::max(longest_, length);
    auto& histogram = pairs_of_length_[static_cast<size_t>(text_.pair(index).direction)];
    if (histogram.size() <= static_cast<size_t>(length)) histogram.resize(static_cast<size_t>(length) + 1, 0);
    ++histogram[static_cast<size_t>(length)];
  }
}

int64_t PairSampler::length_of(int64_t pair) const { return both_sides(text_.pair(pair)); }

/// Pairs of a direction in all epochs before this one: its share, rounded, so that no share is lost over the epochs.
int64_t PairSampler::drawn_before(int64_t epoch, int32_t direction) const {
  return std::llround(static_cast<double>(epoch) * pairs_an_epoch_[static_cast<size_t>(direction)]);
}

int64_t PairSampler::pairs_in_epoch(int64_t epoch, int32_t direction) const {
  return drawn_before(epoch + 1, direction) - drawn_before(epoch, direction);
}

/// The pair at a position of the direction's endless order, which is one permutation after another.
int64_t PairSampler::pair_at(int32_t direction, int64_t position) const {
  const IndexRange pairs = text_.pairs_of(direction);
  const int64_t count = pairs.end - pairs.begin;
  const parallel::RandomStream order(seed_, "pair order", direction, position / count);
  return pairs.begin + parallel::permuted_index(order, position % count, count);
}

/// How many pairs of each length an epoch holds. Whole passes over a direction need no look at its order.
std::vector<int64_t> PairSampler::lengths_in_epoch(int64_t epoch) const {
  std::vector<int64_t> pairs(static_cast<size_t>(longest_) + 1, 0);
  for (int32_t d = 0; d < static_cast<int32_t>(pairs_of_length_.size()); ++d) {
    const IndexRange all = text_.pairs_of(d);
    const int64_t count = all.end - all.begin;
    const int64_t end = drawn_before(epoch + 1, d);
    for (int64_t position = drawn_before(epoch, d); position < end;) {
      if (position % count == 0 && position + count <= end) {
        const auto& histogram = pairs_of_length_[static_cast<size_t>(d)];
        for (size_t length = 0; length < histogram.size(); ++length) pairs[length] += histogram[length];
        position += count;
      } else {
        ++pairs[static_cast<size_t>(length_of(pair_at(d, position++)))];
      }
    }
  }
  return pairs;
}

int64_t PairSampler::count_batches(int64_t epoch) const {
  const std::vector<int64_t> pairs = lengths_in_epoch(epoch);
  BatchCutter cutter(batch_tokens_);
  int64_t batches = 0;
  for (size_t length = 0; length < pairs.size(); ++length) {
    for (int64_t i = 0; i < pairs[length]; ++i) batches += cutter.begins_batch(static_cast<int64_t>(length));
  }
  return batches;
}

void PairSampler::walk_to(int64_t epoch) const {
  while (static_cast<int64_t>(first_update_.size()) <= epoch) {
    const auto walked = static_cast<int64_t>(first_update_.size()) - 1;
    first_update_.push_back(first_update_.back() + count_batches(walked));
  }
}

int64_t PairSampler::first_update(int64_t epoch) const {
  parallel::check_internal(epoch >= 0, "epoch ", epoch);
  walk_to(epoch);
  return first_update_[static_cast<size_t>(epoch)];
}

int64_t PairSampler::epoch_of(int64_t update) const {
  parallel::check_internal(update >= 0, "update ", update);
  while (first_update_.back() <= update) walk_to(static_cast<int64_t>(first_update_.size()));
  return std::upper_bound(first_update_.begin(), first_update_.end(), update) - first_update_.begin() - 1;
}

const PairSampler::Epoch& PairSampler::open_epoch(int64_t epoch) const {
  if (epoch_.number == epoch) return epoch_;
  const parallel::RandomStream ties(seed_, "pair ties", 0, epoch);
  std::vector<std::tuple<int64_t, uint64_t, int64_t>> order;  // length, drawn key, pair
  for (int32_t d = 0; d < static_cast<int32_t>(pairs_an_epoch_.size()); ++d) {
    for (int64_t position = drawn_before(epoch, d); position < drawn_before(epoch + 1, d); ++position) {
      const int64_t pair = pair_at(d, position);
      order.emplace_back(length_of(pair), ties.bits(static_cast<int64_t>(order.size())), pair);
    }
  }
  std::sort(order.begin(), order.end());
  Epoch opened{epoch, {}, {}};
  for (const auto& [length, key, pair] : order) opened.pairs.push_back(pair);
  opened.starts = cut_batches(text_, opened.pairs, batch_tokens_);
  epoch_ = std::move(opened);
  return epoch_;
}

std::vector<int64_t> PairSampler::batch(int64_t update) const {
  const int64_t number = epoch_of(update);
  const Epoch& epoch = open_epoch(number);
  const auto batches = static_cast<int64_t>(epoch.starts.size()) - 1;
  parallel::check_internal(batches == batches_in_epoch(number), batches, " batches in epoch ", number, ", counted ",
                           batches_in_epoch(number));
  const parallel::RandomStream order(seed_, "batch order", 0, number);
  const auto b = static_cast<size_t>(parallel::permuted_index(order, update - first_update(number), batches));
  return {epoch.pairs.begin() + epoch.starts[b], epoch.pairs.begin() + epoch.starts[b + 1]};
}

PairTokens PairSampler::batch_tokens(int64_t update) const { return count_tokens(text_, batch(update)); }

PairTokens PairSampler::tokens_in_epoch(int64_t epoch) const {
  parallel::check_internal(epoch >= 0, "epoch ", epoch);
  return count_tokens(text_, open_epoch(epoch).pairs);
}

PairTokens count_tokens(const ParallelText& text, std::span<const int64_t> indices) {
  PairTokens tokens;
  for (const int64_t index : indices) {
    tokens.source += text.pair(index).source_length;
    tokens.target += text.pair(index).target_length;
  }
  return tokens;
}

std::vector<std::vector<int64_t>> evaluation_batches(const ParallelText& text, int64_t batch_tokens) {
  std::vector<int64_t> sorted(static_cast<size_t>(text.size()));
  std::iota(sorted.begin(), sorted.end(), int64_t{0});
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](int64_t a, int64_t b) { return both_sides(text.pair(a)) < both_sides(text.pair(b)); });
  const std::vector<int64_t> starts = cut_batches(text, sorted, batch_tokens);
  std::vector<std::vector<int64_t>> batches;
  for (size_t b = 0; b + 1 < starts.size(); ++b) {
    batches.emplace_back(sorted.begin() + starts[b], sorted.begin() + starts[b + 1]);
  }
  return batches;
}

PairBatch read_pairs(const ParallelText& text, const std::vector<int64_t>& indices, int64_t start) {
  if (start < 0) start = text.corpus().tokenizer().end_of_text();
  PairBatch batch;
  for (const int64_t index : indices) {
    const ParallelText::Pair& pair = text.pair(index);
    text.append_source(index, batch.source_tokens);
    const size_t begin = batch.targets.size();
    text.append_target(index, batch.targets);
    batch.target_inputs.push_back(start);
    batch.target_inputs.insert(batch.target_inputs.end(), batch.targets.begin() + static_cast<int64_t>(begin),
                               batch.targets.end() - 1);
    batch.source_lengths.push_back(pair.source_length);
    batch.target_lengths.push_back(pair.target_length);
    batch.directions.push_back(pair.direction);
  }
  return batch;
}

}  // namespace data
