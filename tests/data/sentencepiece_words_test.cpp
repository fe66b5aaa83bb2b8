// Word by word a SentencePiece model gives what the library makes of the whole text, or it is not cut.
#include "data/tokenizers/sentencepiece_words.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "data/tokenizers/model_tokenizer.h"
#include "data/tokenizers/sentencepiece_pieces.h"
#include "tests/data/support.h"

namespace {

using data::WordCuts;
using data_tests::TemporaryFolder;

/// Of words that repeat, spaces of every kind, what a normaliser rewrites, the mark itself, and unknown characters.
std::string odd_text(uint64_t number) {
  static const std::vector<std::string> kParts = {"the",
                                                  "mesh",
                                                  "of",
                                                  "ranks",
                                                  "expert",
                                                  "x",
                                                  "1,024",
                                                  "e\xCC\x81",
                                                  "\xEF\xBC\xA1\xEF\xAC\x81",
                                                  "caf\xC3\xA9",
                                                  "\xE4\xB8\xAD\xE6\x96\x87",
                                                  "\xE2\x96\x81",
                                                  "a b",
                                                  "\xCC\x88",
                                                  "\xF0\x9F\x98\x80",
                                                  "\xC2\xA0",
                                                  "<sep>",
                                                  "two words"};
  static const std::vector<std::string> kBetween = {" ",  " ",  " ", " ",    " ",           "  ",
                                                    "\n", "\t", "",  " \n ", "\xE3\x80\x80"};
  const parallel::RandomStream draws(11, "odd text", static_cast<int64_t>(number));
  std::string text = number % 3 == 0 ? " " : "";
  const int64_t count = draws.below(0, 40);
  for (int64_t i = 0; i < count; ++i) {
    text += kParts[static_cast<size_t>(draws.below(2 * i + 1, std::ssize(kParts)))];
    text += kBetween[static_cast<size_t>(draws.below(2 * i + 2, std::ssize(kBetween)))];
  }
  return text;
}

class Sentences : public sentencepiece::SentenceIterator {
 public:
  bool done() const override { return number_ == 300; }
  void Next() override { text_ = odd_text(++number_); }
  const std::string& value() const override { return text_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  uint64_t number_ = 0;
  std::string text_ = odd_text(0);
};

struct ModelCase {
  const char* name;
  std::unordered_map<std::string, std::string> settings;
  WordCuts cuts;
};

std::string trained(std::unordered_map<std::string, std::string> settings) {
  settings.insert({{"model_type", "bpe"},
                   {"vocab_size", "400"},
                   {"byte_fallback", "true"},
                   {"minloglevel", "2"},
                   {"hard_vocab_limit", "false"},
                   {"character_coverage", "0.99"}});
  Sentences sentences;
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &sentences, &model);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return model;
}

class SentencePieceWordsTest : public testing::TestWithParam<ModelCase> {};

TEST_P(SentencePieceWordsTest, TokensAreThoseOfTheWholeText) {
  const std::string model = trained(GetParam().settings);
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.LoadFromSerializedProto(model).ok());
  EXPECT_EQ(data::word_cuts(model, data::sentencepiece_pieces(library), "model"), GetParam().cuts);
  const TemporaryFolder folder;
  data_tests::write_file(folder / "tokenizer.model", model);
  const auto tokenizer = data::read_model_tokenizer(folder.path());
  for (uint64_t number = 0; number < 600; ++number) {
    const std::string text = odd_text(number);
    std::vector<int> whole;
    ASSERT_TRUE(library.Encode(text, &whole).ok());
    ASSERT_EQ(tokenizer->encode(text), std::vector<int32_t>(whole.begin(), whole.end())) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, SentencePieceWordsTest,
    testing::Values(ModelCase{"as_trained_by_default", {}, WordCuts::kSpaceLeft},
                    ModelCase{"without_byte_fallback", {{"byte_fallback", "false"}}, WordCuts::kSpaceLeft},
                    ModelCase{"as_it_stands",
                              {{"normalization_rule_name", "identity"}, {"remove_extra_whitespaces", "false"}},
                              WordCuts::kSpaceLeft},
                    ModelCase{"no_space_in_front",
                              {{"add_dummy_prefix", "false"}, {"remove_extra_whitespaces", "false"}},
                              WordCuts::kSpaceTaken},
                    ModelCase{"a_symbol_of_the_users", {{"user_defined_symbols", "<sep>"}}, WordCuts::kSpaceLeft},
                    ModelCase{"first_space_lost", {{"add_dummy_prefix", "false"}}, WordCuts::kNowhere},
                    ModelCase{"a_symbol_with_a_space", {{"user_defined_symbols", "a b"}}, WordCuts::kNowhere},
                    ModelCase{"pieces_of_several_words", {{"split_by_whitespace", "false"}}, WordCuts::kNowhere},
                    ModelCase{"spaces_behind", {{"treat_whitespace_as_suffix", "true"}}, WordCuts::kNowhere},
                    ModelCase{"unigram", {{"model_type", "unigram"}}, WordCuts::kNowhere}),
    [](const auto& one) { return one.param.name; });

TEST(SentencePieceWords, AreCutAtSingleSpacesBetweenPrintableCharacters) {
  const auto words = [](std::string_view text, WordCuts cuts) {
    std::vector<std::string> all;
    data::for_each_word(text, cuts, [&](std::string_view word) { all.emplace_back(word); });
    return all;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(words("a b  c\xC3\xA9 d e", WordCuts::kSpaceLeft), (Words{"a", "b  c\xC3\xA9 d", "e"}));
  EXPECT_EQ(words(" a b ", WordCuts::kSpaceTaken), (Words{" a", " b "}));
  EXPECT_EQ(words("a b", WordCuts::kNowhere), (Words{"a b"}));
  EXPECT_EQ(words("", WordCuts::kSpaceLeft), Words{});
}

}  // namespace
