#include "data/batching/pair_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "tests/data/parallel_support.h"

namespace data_tests {
namespace {

using data::PairSampler;
using data::PairTokens;
using data::ParallelText;
using data::Split;

/// `many` rows of de and en, `few` of en and fr; sentences of 0 to 29 bytes.
ParallelText uneven_text(int64_t many, int64_t few, const std::string& directions = "de-en,en-fr") {
  std::vector<TextRow> rows;
  const parallel::RandomStream random(5, "sentence lengths");
  for (int64_t i = 0; i < many + few; ++i) {
    const auto text = [&](int64_t side) {
      return std::string(static_cast<size_t>(random.below(2 * i + side, 30)), 'x');
    };
    rows.push_back({Split::kTrain, {{i < many ? 0 : 2, text(0)}, {1, text(1)}}});
  }
  return {corpus_of_rows({"de", "en", "fr"}, rows), Split::kTrain, {.directions = directions}};
}

int64_t length_of(const ParallelText& text, int64_t pair) {
  return text.pair(pair).source_length + text.pair(pair).target_length;
}

/// How often each pair comes in an epoch.
std::vector<int64_t> visits(const ParallelText& text, const PairSampler& sampler, int64_t epoch) {
  std::vector<int64_t> count(static_cast<size_t>(text.size()), 0);
  for (int64_t u = sampler.first_update(epoch); u < sampler.first_update(epoch + 1); ++u) {
    for (const int64_t pair : sampler.batch(u)) ++count[static_cast<size_t>(pair)];
  }
  return count;
}

TEST(PairSampler, VisitsEveryPairOnceAnEpochAtTemperatureOne) {
  const ParallelText text = uneven_text(300, 41);
  const PairSampler sampler(text, {.batch_tokens = 200}, 7);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(visits(text, sampler, epoch), std::vector<int64_t>(341, 1)) << "epoch " << epoch;
    EXPECT_EQ(sampler.pairs_in_epoch(epoch, 0), 300);
    EXPECT_EQ(sampler.pairs_in_epoch(epoch, 1), 41);
  }
}

TEST(PairSampler, BatchesAreFullButNeverOverfullAndSortedByLength) {
  const ParallelText text = uneven_text(300, 41);
  for (const double temperature : {1.0, 5.0}) {
    const PairSampler sampler(text, {.batch_tokens = 150, .temperature = temperature}, 7);
    int64_t total = 0;
    for (int64_t u = 0; u < sampler.first_update(2); ++u) {
      const auto batch = sampler.batch(u);
      ASSERT_FALSE(batch.empty());
      PairTokens tokens;
      for (size_t i = 0; i < batch.size(); ++i) {
        tokens.source += text.pair(batch[i]).source_length;
        tokens.target += text.pair(batch[i]).target_length;
        const int64_t before = i > 0 ? length_of(text, batch[i - 1]) : 0;
        EXPECT_LE(before, length_of(text, batch[i])) << "update " << u;
      }
      EXPECT_LE(tokens.source + tokens.target, 150) << "update " << u;
      EXPECT_EQ(sampler.batch_tokens(u), tokens);
      total += tokens.source + tokens.target;
    }
    const PairTokens first = sampler.tokens_in_epoch(0), second = sampler.tokens_in_epoch(1);
    EXPECT_EQ(first.source + first.target + second.source + second.target, total);
    // A batch ends where one more pair, of at most 63 tokens, would not fit.
    EXPECT_GT(static_cast<double>(total) / static_cast<double>(sampler.first_update(2)), 150 - 63);
  }
}

TEST(PairSampler, SharesFollowTheTemperature) {
  const ParallelText text = uneven_text(900, 100);
  const double a = std::pow(900.0, 0.2), b = std::pow(100.0, 0.2);
  for (const auto& [temperature, share] : std::vector<std::pair<double, double>>{
           {1.0, 0.1}, {5.0, b / (a + b)}, {std::numeric_limits<double>::infinity(), 0.5}}) {
    const PairSampler sampler(text, {.batch_tokens = 500, .temperature = temperature}, 3);
    int64_t rare = 0, all = 0;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      const auto count = visits(text, sampler, epoch);
      for (size_t pair = 0; pair < count.size(); ++pair) {
        all += count[pair];
        rare += pair >= 900 ? count[pair] : 0;
      }
      EXPECT_NEAR(static_cast<double>(sampler.pairs_in_epoch(epoch, 1)), 1000 * share, 1) << temperature;
    }
    EXPECT_NEAR(static_cast<double>(rare), 3000 * share, 1.0) << temperature;
    EXPECT_NEAR(static_cast<double>(all), 3000, 1.0) << temperature;
  }
}

TEST(PairSampler, ColdestTemperatureLeavesTheLargestDirections) {
  const ParallelText text = uneven_text(40, 20, "de-en,en-de,en-fr");
  const PairSampler sampler(text, {.batch_tokens = 500, .temperature = 1e-4}, 3);
  EXPECT_EQ(sampler.pairs_in_epoch(0, 0), 50);
  EXPECT_EQ(sampler.pairs_in_epoch(0, 1), 50);
  EXPECT_EQ(sampler.pairs_in_epoch(0, 2), 0);
}

TEST(PairSampler, NoPairComesTwiceBeforeAllCameOnce) {
  const ParallelText text = uneven_text(900, 100);
  const PairSampler sampler(text, {.batch_tokens = 500, .temperature = 5}, 3);
  std::vector<int64_t> count(1000, 0);
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    const auto more = visits(text, sampler, epoch);
    std::transform(count.begin(), count.end(), more.begin(), count.begin(), std::plus<>());
    for (const auto& [begin, end] : {std::pair{0, 900}, std::pair{900, 1000}}) {
      const auto [least, most] = std::minmax_element(count.begin() + begin, count.begin() + end);
      EXPECT_LE(*most - *least, 1) << "epoch " << epoch;
    }
  }
}

TEST(PairSampler, BatchesDependOnSeedAndUpdateAndNothingElse) {
  const ParallelText text = uneven_text(200, 50);
  for (const double temperature : {1.0, 5.0}) {
    const PairSampler::Options options{.batch_tokens = 300, .temperature = temperature};
    const PairSampler forwards(text, options, 11), backwards(text, options, 11), other(text, options, 12);
    const int64_t updates = forwards.first_update(3);
    std::vector<std::vector<int64_t>> batches;
    for (int64_t u = 0; u < updates; ++u) batches.push_back(forwards.batch(u));
    for (int64_t u = updates - 1; u >= 0; --u) ASSERT_EQ(backwards.batch(u), batches[static_cast<size_t>(u)]) << u;
    const PairSampler resumed(text, options, 11);
    const int64_t middle = updates / 2;
    EXPECT_EQ(resumed.batch(middle), batches[static_cast<size_t>(middle)]) << "any update can be asked for first";
    std::vector<std::vector<int64_t>> others;
    for (int64_t u = 0; u < updates; ++u) others.push_back(other.batch(u));
    EXPECT_NE(batches, others);
  }
}

TEST(PairSampler, EpochsDifferAndAreFoundByTheirUpdates) {
  const ParallelText text = uneven_text(200, 50);
  const PairSampler sampler(text, {.batch_tokens = 300, .temperature = 3}, 11);
  EXPECT_EQ(sampler.first_update(0), 0);
  std::vector<std::vector<std::vector<int64_t>>> epochs;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    const int64_t begin = sampler.first_update(epoch), end = sampler.first_update(epoch + 1);
    EXPECT_EQ(end - begin, sampler.batches_in_epoch(epoch));
    EXPECT_EQ(sampler.epoch_of(begin), epoch);
    EXPECT_EQ(sampler.epoch_of(end - 1), epoch);
    epochs.emplace_back();
    for (int64_t u = begin; u < end; ++u) epochs.back().push_back(sampler.batch(u));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& epoch : epochs) std::sort(epoch.begin(), epoch.end());
  EXPECT_NE(epochs[0], epochs[1]) << "not only the order of the batches";
}

TEST(PairSampler, BatchesOfAnEpochComeInShuffledOrder) {
  const ParallelText text = uneven_text(300, 41);
  const PairSampler sampler(text, {.batch_tokens = 100}, 7);
  std::vector<int64_t> lengths;
  for (int64_t u = 0; u < sampler.first_update(1); ++u) lengths.push_back(length_of(text, sampler.batch(u).front()));
  int64_t rises = 0;
  for (size_t i = 1; i < lengths.size(); ++i) rises += lengths[i] > lengths[i - 1];
  const double expected = static_cast<double>(lengths.size()) / 2;
  EXPECT_NEAR(static_cast<double>(rises), expected, expected / 2);
}

TEST(PairSampler, ImpossibleOptionsAreRefused) {
  const ParallelText text = uneven_text(20, 5);
  int64_t longest = 0;
  for (int64_t i = 0; i < text.size(); ++i) longest = std::max(longest, length_of(text, i));
  const std::string message = error_of([&] { PairSampler(text, {.batch_tokens = longest - 1}, 1); });
  EXPECT_TRUE(says(message, std::to_string(longest) +
                                " tokens, more than a batch (train.batch_tokens = " + std::to_string(longest - 1)))
      << message;
  EXPECT_TRUE(says(message, "data.longest")) << message;
  EXPECT_EQ(PairSampler(text, {.batch_tokens = longest}, 1).pairs_in_epoch(0, 0), 20);
  for (const double temperature : {0.0, -1.0, std::nan("")}) {
    EXPECT_TRUE(says(error_of([&] { PairSampler(text, {.temperature = temperature}, 1); }), "data.temperature"));
  }
}

TEST(EvaluationBatches, HoldEveryPairOnceSortedByLength) {
  const ParallelText text = uneven_text(100, 30);
  std::set<int64_t> seen;
  int64_t last = 0;
  for (const auto& batch : data::evaluation_batches(text, 90)) {
    int64_t tokens = 0;
    for (const int64_t pair : batch) {
      EXPECT_GE(length_of(text, pair), last);
      last = length_of(text, pair);
      tokens += last;
      seen.insert(pair);
    }
    EXPECT_LE(tokens, 90);
  }
  EXPECT_EQ(seen.size(), 130u);
  EXPECT_EQ(data::evaluation_batches(text, 1).size(), 130u) << "a pair that is too long is alone";
}

}  // namespace
}  // namespace data_tests
