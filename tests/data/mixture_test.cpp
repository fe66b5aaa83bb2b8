// Several token files as one text: what data.file says, which file stands where, what a window of them holds.
#include <numeric>
#include <set>

#include "data/batching/mixed_text.h"
#include "data/batching/mixture_sampler.h"
#include "data/batching/sequence_sampler.h"
#include "data/datasets/token_corpus_writer.h"
#include "data/datasets/token_mixture.h"
#include "data/prepare/prepare.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::MixtureSampler;

TEST(TokenFiles, AreOneNameOrSeveralWithWeights) {
  const auto one = data::parse_token_files("a:3.h5");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].path, "a:3.h5") << "one file's name is whole";
  const auto two = data::parse_token_files("work/a.h5:2.5, b.h5");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].path, "work/a.h5");
  EXPECT_EQ(two[0].weight, 2.5);
  EXPECT_EQ(two[1].path, "b.h5");
  EXPECT_EQ(two[1].weight, 1);
  EXPECT_EQ(data::token_files_text(two), "work/a.h5:2.5,b.h5:1");
  for (const char* bad : {"a.h5:0,b.h5", "a.h5:-1,b.h5", "a.h5:x,b.h5", "a.h5:inf,b.h5", "a.h5:nan,b.h5", "a.h5,",
                          ":2,a.h5", "a.h5,./a.h5"}) {
    const std::string message = error_of([&] { data::parse_token_files(bad); });
    EXPECT_NE(message.find(bad), std::string::npos) << message;
    EXPECT_NE(message.find("work/a.h5:3,work/b.h5:1"), std::string::npos) << message;
  }
}

TEST(MixtureSampler, EveryStretchHasEachSourcesShareAndEachIndexOnce) {
  const std::vector<double> weights{3, 1, 0.25};
  const MixtureSampler mixture(weights);
  constexpr int64_t kPositions = 3 * MixtureSampler::kBlock;
  std::vector<std::set<int64_t>> seen(3);
  for (int64_t position = 0; position < kPositions; ++position) {
    const auto draw = mixture.draw_at(7, position);
    EXPECT_TRUE(seen[static_cast<size_t>(draw.source)].insert(draw.index).second) << position;
    if ((position + 1) % MixtureSampler::kBlock != 0) continue;
    for (size_t s = 0; s < 3; ++s) {
      const auto drawn = static_cast<int64_t>(seen[s].size());
      EXPECT_NEAR(static_cast<double>(drawn), static_cast<double>(position + 1) * weights[s] / 4.25, 3) << s;
      EXPECT_EQ(*seen[s].rbegin(), drawn - 1) << "no index is left out";
    }
  }
  for (const int64_t positions : {int64_t{0}, int64_t{1}, int64_t{500}, MixtureSampler::kBlock, kPositions - 7}) {
    std::vector<int64_t> counted(3, 0);
    for (int64_t p = 0; p < positions; ++p) ++counted[static_cast<size_t>(mixture.draw_at(7, p).source)];
    EXPECT_EQ(mixture.draws_before(7, positions), counted) << positions;
  }
}

TEST(MixtureSampler, IsShuffledBySeedAndKeepsFarPositionsExact) {
  const MixtureSampler mixture({1, 1});
  int64_t alike = 0, alternating = 0;
  for (int64_t p = 0; p < 1000; ++p) {
    alike += mixture.draw_at(1, p).source == mixture.draw_at(2, p).source;
    alternating += mixture.draw_at(1, p).source == p % 2;
  }
  EXPECT_GT(alike, 400);
  EXPECT_LT(alike, 600);
  EXPECT_GT(alternating, 400) << "no source keeps to the even places";
  EXPECT_LT(alternating, 600);
  const int64_t far = int64_t{1} << 50;
  EXPECT_EQ(mixture.draws_before(1, far), (std::vector<int64_t>{far / 2, far / 2}));
  EXPECT_EQ(MixtureSampler({5}).draw_at(1, far + 3).index, far + 3) << "one source keeps the order it has alone";
}

/// A token file of one document of `size` letters `letter` for training and one for evaluation, of one group each.
std::string letters_file(const TemporaryFolder& folder, const std::string& name, char letter, int64_t size) {
  const auto tokenizer = data::load_byte_tokenizer("");
  const std::string text(static_cast<size_t>(size), letter);
  data::TokenCorpusWriter writer(folder / name, tokenizer, {"text"});
  writer.add({"train", 0, data::Split::kTrain, size, 0}, tokenizer->encode(text));
  writer.add({"held out", 0, data::Split::kHeldOut, size, 0}, tokenizer->encode(text));
  writer.finish();
  return folder / name;
}

TEST(TokenMixture, NumbersTheGroupsOfItsFilesOn) {
  const TemporaryFolder folder;
  const std::string a = letters_file(folder, "a.h5", 'a', 50), b = letters_file(folder, "b.h5", 'b', 30);
  const auto mixture = data::TokenMixture::open(a + ":3," + b);
  EXPECT_EQ(mixture.groups(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(data::TokenMixture::open(a).groups(), std::vector<std::string>{"text"});
  const data::MixedText text(mixture, data::file_parts(mixture), data::Split::kTrain);
  EXPECT_EQ(text.size(), 51 + 31);
  const data::TokenBatch batch = text.read(10, {{1, 0}, {0, 2}, {1, 3}});
  ASSERT_EQ(batch.sequences, 3);
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(batch.groups[i], i / 10 == 1 ? 0 : 1) << i;
  EXPECT_EQ(batch.targets[9], 'b');
  EXPECT_EQ(batch.targets[10], 'a');
  EXPECT_EQ(batch.tokens[10], 'a');
}

TEST(TokenMixture, IsKnownByItsFilesTheirOrderAndTheirWeights) {
  const TemporaryFolder folder;
  const std::string a = letters_file(folder, "a.h5", 'a', 50), b = letters_file(folder, "b.h5", 'b', 30);
  const auto known_by = [](const std::string& files) { return data::TokenMixture::open(files).fingerprint(); };
  EXPECT_EQ(known_by(a), data::TokenCorpus::open(a).fingerprint()) << "a file alone is itself";
  EXPECT_EQ(known_by(a + ":2," + b), known_by(a + ":2.0," + b + ":1"));
  const std::set<std::string> all{known_by(a), known_by(b), known_by(a + "," + b), known_by(b + "," + a),
                                  known_by(a + ":2," + b)};
  EXPECT_EQ(all.size(), 5u);
}

TEST(TokenMixture, RefusesOtherTokenizersAndMissingFilesByName) {
  const TemporaryFolder folder;
  const std::string a = letters_file(folder, "a.h5", 'a', 50);
  write_file(folder / "text.txt", sentences(3, 300));
  data::PrepareOptions options{.text = {folder / "text.txt"}, .output = folder / "pieces.h5"};
  options.vocabulary_size = 300;
  data::prepare(options);
  const std::string message = error_of([&] { data::TokenMixture::open(a + "," + (folder / "pieces.h5")); });
  for (const std::string& part : {a, folder / "pieces.h5", std::string("tokenizer"), std::string("sentencepiece")}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in " << message;
  }
  const std::string missing = error_of([&] { data::TokenMixture::open(a + ":1," + (folder / "none.h5") + ":2"); });
  EXPECT_NE(missing.find(folder / "none.h5"), std::string::npos) << missing;
  // The way out that the first message names.
  options.tokenizer = folder / "pieces.h5";
  options.output = folder / "more.h5";
  write_file(folder / "text.txt", sentences(4, 300));
  data::prepare(options);
  EXPECT_EQ(data::TokenMixture::open((folder / "pieces.h5") + "," + (folder / "more.h5")).sources().size(), 2u);
}

}  // namespace
}  // namespace data_tests
