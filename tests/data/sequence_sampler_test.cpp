#include "data/batching/sequence_sampler.h"

#include <set>

#include "data/datasets/token_corpus.h"
#include "data/datasets/token_corpus_writer.h"
#include "data/shard.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::SequenceSampler;
using data::Split;
using data::TokenBatch;

/// A stream of `targets` targets: one training document whose text has one byte less, because end_of_text follows.
data::TokenStream stream_of(int64_t targets) {
  const TemporaryFolder folder;
  const auto tokenizer = data::load_byte_tokenizer("");
  std::string text;
  for (int64_t i = 0; i + 1 < targets; ++i) text.push_back(static_cast<char>('a' + i % 26));
  data::TokenCorpusWriter writer(folder / "a.h5", tokenizer, {"g"});
  writer.add({"n", 0, Split::kTrain, targets - 1, 0}, tokenizer->encode(text));
  writer.finish();
  return data::TokenCorpus::open(folder / "a.h5").stream(Split::kTrain);
}

TEST(SequenceSampler, VisitsEveryFullWindowOnceAnEpoch) {
  for (const int64_t targets : {1000, 1009, 10, 19}) {
    const SequenceSampler sampler(stream_of(targets), 10);
    EXPECT_EQ(sampler.windows(), targets / 10);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      const auto order = sampler.windows_at(7, epoch * sampler.windows(), sampler.windows());
      const std::set<int64_t> visited(order.begin(), order.end());
      EXPECT_EQ(static_cast<int64_t>(visited.size()), sampler.windows());
      EXPECT_EQ(*visited.begin(), 0);
      EXPECT_EQ(*visited.rbegin(), sampler.windows() - 1);
    }
  }
}

TEST(SequenceSampler, OrderDependsOnSeedAndEpochAndNothingElse) {
  const SequenceSampler sampler(stream_of(1000), 10);
  const SequenceSampler again(stream_of(1005), 10);
  EXPECT_EQ(sampler.windows_at(7, 0, 250), again.windows_at(7, 0, 250));
  EXPECT_NE(sampler.windows_at(7, 0, 100), sampler.windows_at(8, 0, 100));
  EXPECT_NE(sampler.windows_at(7, 0, 100), sampler.windows_at(7, 100, 100));
  EXPECT_EQ(sampler.windows_at(7, 130, 20)[3], sampler.window_at(7, 133)) << "no state: any position can be asked for";
}

TEST(SequenceSampler, RanksTogetherReadWhatOneRankReads) {
  const data::TokenStream stream = stream_of(2000);
  const SequenceSampler sampler(stream, 16);
  const auto order = sampler.windows_at(3, 40, 13);
  const TokenBatch whole = data::read_windows(stream, 16, order);
  std::vector<int64_t> joined;
  for (int64_t rank = 0; rank < 3; ++rank) {
    const data::IndexRange part = data::split_range(13, {rank, 3});
    const std::vector<int64_t> mine(order.begin() + part.begin, order.begin() + part.end);
    const TokenBatch batch = data::read_windows(stream, 16, mine);
    joined.insert(joined.end(), batch.targets.begin(), batch.targets.end());
  }
  EXPECT_EQ(joined, whole.targets);
}

TEST(SequenceSampler, CorpusShorterThanOneWindowIsRefusedWithBothNumbers) {
  const std::string message = error_of([] { SequenceSampler(stream_of(99), 128); });
  EXPECT_NE(message.find("99 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("128"), std::string::npos) << message;
}

TEST(ReadWindows, EvaluationCoversEveryTargetOnceAndPadsTheLastWindow) {
  const data::TokenStream stream = stream_of(105);
  ASSERT_EQ(data::evaluation_windows(stream, 10), 11);
  std::vector<int64_t> targets;
  for (int64_t window = 0; window < 11; ++window) {
    const TokenBatch batch = data::read_windows(stream, 10, {window});
    EXPECT_EQ(batch.sequences, 1);
    EXPECT_EQ(batch.sequence_length, 10);
    targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
  }
  ASSERT_EQ(targets.size(), 110u);
  for (size_t i = 0; i < 104; ++i) EXPECT_EQ(targets[i], static_cast<int64_t>('a' + i % 26));
  EXPECT_EQ(targets[104], 256) << "end_of_text";
  for (size_t i = 105; i < 110; ++i) EXPECT_EQ(targets[i], TokenBatch::kIgnored);
}

TEST(ReadWindows, NoWindowsAreAnEmptyBatch) {
  const TokenBatch batch = data::read_windows(stream_of(50), 10, {});
  EXPECT_EQ(batch.sequences, 0);
  EXPECT_EQ(batch.sequence_length, 10);
  EXPECT_TRUE(batch.tokens.empty());
}

}  // namespace
}  // namespace data_tests
