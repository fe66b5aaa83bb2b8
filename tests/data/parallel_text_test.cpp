#include "data/datasets/parallel_text.h"

#include "data/batching/pair_sampler.h"
#include "tests/data/parallel_support.h"

namespace data_tests {
namespace {

using data::PairSelection;
using data::ParallelText;
using data::Split;

/// Three languages; de-fr only in the second row.
data::TokenCorpus three_languages() {
  return corpus_of_rows({"de", "en", "fr"}, {{Split::kTrain, {{0, "eins"}, {1, "one"}}},
                                             {Split::kTrain, {{0, "zwei"}, {1, "two"}, {2, "deux"}}},
                                             {Split::kTrain, {{1, "three"}, {2, "trois"}}},
                                             {Split::kHeldOut, {{0, "sehr lang"}, {1, ""}}},
                                             {Split::kTest, {{0, "vier"}, {2, "quatre"}}}});
}

std::vector<std::string> names_of(const ParallelText& text) {
  std::vector<std::string> names;
  for (const data::Direction& direction : text.directions()) names.push_back(direction.name);
  return names;
}

ParallelText train_in(const std::string& directions) {
  return {three_languages(), Split::kTrain, {.directions = directions}};
}

TEST(ParallelText, HoldsThePairsOfEachDirectionInOrderOfTheRows) {
  const ParallelText text = train_in("all");  // outlives its corpus
  EXPECT_EQ(names_of(text), (std::vector<std::string>{"de-en", "de-fr", "en-de", "en-fr", "fr-de", "fr-en"}));
  ASSERT_EQ(text.size(), 10);
  std::vector<std::string> pairs;
  for (int64_t i = 0; i < text.size(); ++i) {
    pairs.push_back(text.directions()[static_cast<size_t>(text.pair(i).direction)].name + " " + text.source_text(i) +
                    " " + text.target_text(i));
  }
  EXPECT_EQ(pairs, (std::vector<std::string>{"de-en eins one", "de-en zwei two", "de-fr zwei deux", "en-de one eins",
                                             "en-de two zwei", "en-fr two deux", "en-fr three trois", "fr-de deux zwei",
                                             "fr-en deux two", "fr-en trois three"}));
  EXPECT_EQ(text.pairs_of(3).begin, 5);
  EXPECT_EQ(text.pairs_of(3).end, 7);
  EXPECT_EQ(text.directions()[3].source, 1);
  EXPECT_EQ(text.directions()[3].target, 2);
  EXPECT_EQ(text.pair(6).source_length, 7) << "tag, three, end";
  EXPECT_EQ(text.pair(6).target_length, 6) << "trois, end";
  EXPECT_EQ(text.skipped(), 0);
}

TEST(ParallelText, DirectionsAreChosenByNameAndWildcard) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of(train_in("fr-en")), (Names{"fr-en"}));
  EXPECT_EQ(names_of(train_in("fr-en,de-en,fr-en")), (Names{"de-en", "fr-en"})) << "sorted, each once";
  EXPECT_EQ(names_of(train_in("en-*")), (Names{"en-de", "en-fr"}));
  EXPECT_EQ(names_of(train_in("*-en,de-fr")), (Names{"de-en", "de-fr", "fr-en"}));
  EXPECT_EQ(names_of(train_in("*-*")), names_of(train_in("all")));
  const ParallelText test(three_languages(), Split::kTest, {.directions = "*-fr"});
  EXPECT_EQ(names_of(test), (Names{"de-fr"})) << "only those that have pairs in the split";
}

TEST(ParallelText, DirectionsThatTheFileLacksAreRefusedWithThoseItHas) {
  for (const std::string list : {"de-xx", "de", "", "en-de,", "en-en", "xx-*", "EN-de"}) {
    const std::string message = error_of([&] { train_in(list); });
    EXPECT_TRUE(says(message, "knows no direction '")) << list << ": " << message;
    EXPECT_TRUE(says(message, "it has de-en, de-fr, en-de, en-fr, fr-de, fr-en ('*' stands for")) << message;
    EXPECT_TRUE(says(message, "rows.h5, split 'train'")) << message;
  }
  const std::string message =
      error_of([] { ParallelText(three_languages(), Split::kTest, {.directions = "de-fr,en-fr"}); });
  EXPECT_TRUE(says(message, "split 'test', has no sentence pair for 'en-fr'; it has de-fr, fr-de")) << message;
}

TEST(ParallelText, LongPairsAreLeftOutOfTrainingAndCounted) {
  // Bytes + 1 for the target, + 2 for the source.
  const auto pairs = [](int64_t longest, Split split, const std::string& directions) {
    return ParallelText(three_languages(), split, {.directions = directions, .longest = longest});
  };
  EXPECT_EQ(pairs(6, Split::kTrain, "de-en").size(), 2) << "eins has 6 tokens with tag and end";
  EXPECT_EQ(pairs(6, Split::kTrain, "en-fr").size(), 1) << "three has 7";
  EXPECT_EQ(pairs(6, Split::kTrain, "en-fr").skipped(), 1);
  EXPECT_EQ(pairs(7, Split::kTrain, "en-fr").skipped(), 0);
  EXPECT_EQ(pairs(6, Split::kTrain, "all").skipped(), 2);
  const std::string message = error_of([&] { pairs(5, Split::kTrain, "de-en"); });
  EXPECT_TRUE(says(message, "has no pair de-en of at most 5 tokens on either side (data.longest)")) << message;
  EXPECT_EQ(pairs(2, Split::kHeldOut, "all").size(), 2) << "held out and test keep all";
  EXPECT_EQ(pairs(2, Split::kTest, "all").size(), 2);
}

TEST(ParallelText, TheFirstRowsOfTheSplitCanBeChosen) {
  const auto rows = [](int64_t count) {
    return ParallelText(three_languages(), Split::kTrain, {.directions = "en-*", .rows = count});
  };
  EXPECT_EQ(rows(1).size(), 1);
  EXPECT_EQ(names_of(rows(1)), (std::vector<std::string>{"en-de"}));
  EXPECT_EQ(rows(2).size(), 3);
  EXPECT_EQ(rows(100).size(), 4);
  EXPECT_EQ(rows(0).size(), 4);
}

TEST(ParallelText, FilesWithoutParallelTextAreRefused) {
  const TemporaryFolder folder;
  data::TokenCorpusWriter writer(folder / "plain.h5", data::load_byte_tokenizer(""), {"g"});
  writer.add({"n", 0, Split::kTrain, 1, 0}, {65});
  writer.finish();
  const auto plain = data::TokenCorpus::open(folder / "plain.h5");
  EXPECT_EQ(error_of([&] { ParallelText(plain, Split::kTrain, {}); }),
            (folder / "plain.h5") + ": holds no parallel text; prepare it with --parallel");
  const auto untested = corpus_of_rows({"de", "en"}, {{Split::kTrain, {{0, "eins"}, {1, "one"}}}});
  EXPECT_TRUE(says(error_of([&] { ParallelText(untested, Split::kTest, {}); }),
                   "split 'test', has no rows; prepare it with --test"));
}

TEST(ReadPairs, PutsTagsAndEndsWhereTheyBelong) {
  const ParallelText text = train_in("all");
  const data::PairBatch batch = data::read_pairs(text, {5, 3});  // en-fr two deux; en-de one eins
  const int64_t end = 256, to_de = 257, to_fr = 259;
  EXPECT_EQ(batch.pairs(), 2);
  EXPECT_EQ(batch.source_tokens, (std::vector<int64_t>{to_fr, 't', 'w', 'o', end, to_de, 'o', 'n', 'e', end}));
  EXPECT_EQ(batch.source_lengths, (std::vector<int64_t>{5, 5}));
  EXPECT_EQ(batch.target_inputs, (std::vector<int64_t>{end, 'd', 'e', 'u', 'x', end, 'e', 'i', 'n', 's'}));
  EXPECT_EQ(batch.targets, (std::vector<int64_t>{'d', 'e', 'u', 'x', end, 'e', 'i', 'n', 's', end}));
  EXPECT_EQ(batch.target_lengths, (std::vector<int64_t>{5, 5}));
  EXPECT_EQ(batch.directions, (std::vector<int32_t>{3, 2}));
}

TEST(ReadPairs, EmptySentencesAndNoPairsAreLegal) {
  const ParallelText text(three_languages(), Split::kHeldOut, {.directions = "de-en"});
  const data::PairBatch batch = data::read_pairs(text, {0});
  EXPECT_EQ(batch.target_inputs, (std::vector<int64_t>{256}));
  EXPECT_EQ(batch.targets, (std::vector<int64_t>{256}));
  EXPECT_EQ(text.target_text(0), "");
  const data::PairBatch none = data::read_pairs(text, {});
  EXPECT_EQ(none.pairs(), 0);
  EXPECT_TRUE(none.source_tokens.empty());
}

}  // namespace
}  // namespace data_tests
