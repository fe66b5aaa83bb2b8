// Expected numbers and words are those of sacreBLEU 2.6.0 (and Python 3.11); scoring_check.py compares at random.
#include <array>

#include "data/scoring/bleu.h"
#include "data/scoring/chrf.h"
#include "data/scoring/tokenizer_13a.h"
#include "data/scoring/unicode_text.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::BleuScore;
using data::corpus_bleu;
using data::corpus_chrf;

using Texts = std::vector<std::string>;

std::vector<std::u32string> words_of(std::string_view text) { return data::tokenize_13a(data::decode_utf8(text)); }

std::vector<std::u32string> decoded(const Texts& words) {
  std::vector<std::u32string> all;
  for (const std::string& word : words) all.push_back(data::decode_utf8(word));
  return all;
}

void expect_bleu(const BleuScore& bleu, double score, const std::array<double, 4>& precisions, double brevity_penalty) {
  EXPECT_NEAR(bleu.score, score, 1e-9);
  EXPECT_NEAR(bleu.brevity_penalty, brevity_penalty, 1e-12);
  for (size_t n = 0; n < 4; ++n) EXPECT_NEAR(bleu.precisions[n], precisions[n], 1e-9) << "order " << n + 1;
}

TEST(Bleu, IsThatOfSacrebleu) {
  const BleuScore bleu = corpus_bleu({"The cat is on the mat.", "There is a \"cat\", on the mat!"},
                                     {"The cat sat on the mat.", "There's a cat on the mat."}, {});
  expect_bleu(bleu, 25.292447383536217, {61.111111111111114, 37.5, 21.428571428571427, 8.333333333333334}, 1);
  EXPECT_EQ(bleu.hypothesis_length, 18);
  EXPECT_EQ(bleu.reference_length, 14);
}

TEST(Bleu, ShortHypothesesPayTheBrevityPenalty) {
  const BleuScore bleu = corpus_bleu({"A man rides a bike", "Two dogs"},
                                     {"A man is riding a bike down the street.", "Two dogs play in the snow."}, {});
  expect_bleu(bleu, 7.710279424839755, {85.71428571428571, 60, 16.666666666666668, 12.5}, 0.23965103644177585);
  EXPECT_EQ(bleu.hypothesis_length, 7);
  EXPECT_EQ(bleu.reference_length, 17);
  const BleuScore half_empty =
      corpus_bleu({"", "a dog runs in the snow ."}, {"Two men.", "a dog runs in the snow."}, {});
  expect_bleu(half_empty, 65.14390575310559, {100, 100, 100, 100}, 0.6514390575310556);
}

TEST(Bleu, OrdersWithoutARightNgramAreSmoothed) {
  expect_bleu(corpus_bleu({"a b c x d e"}, {"a b c d e f"}, {}), 37.99178428257963,
              {83.33333333333333, 60, 25, 16.666666666666668}, 1);
  expect_bleu(corpus_bleu({"a x b y c z"}, {"a b c d e f"}, {}), 10.682175159905853, {50, 10, 6.25, 4.166666666666667},
              1);
}

TEST(Bleu, NothingRightOrNothingLongEnoughIsZero) {
  expect_bleu(corpus_bleu({"a b c d e"}, {"v w x y z"}, {}), 0, {0, 0, 0, 0}, 1);
  expect_bleu(corpus_bleu({"a b c"}, {"a b c"}, {}), 0, {100, 100, 100, 0}, 1);
  expect_bleu(corpus_bleu({""}, {"a b c d"}, {}), 0, {0, 0, 0, 0}, 0);
  expect_bleu(corpus_bleu({"a b c d e"}, {""}, {}), 0, {0, 0, 0, 0}, 1);
  expect_bleu(corpus_bleu({""}, {""}, {}), 0, {0, 0, 0, 0}, 1);
}

TEST(Bleu, LowercaseKnowsMoreThanAscii) {
  const Texts capitals = {"ΟΔΟΣ ÉTÉ STRASSE ЁЛКА İSTANBUL end"};
  const Texts small = {"οδος été strasse ёлка i\u0307stanbul end"};
  EXPECT_NEAR(corpus_bleu(capitals, small, {}).score, 8.116697886877475, 1e-9);
  EXPECT_NEAR(corpus_bleu(capitals, small, {.lowercase = true}).score, 100, 1e-9);
  const Texts sharp_s = {"οδος été straße ёлка i\u0307stanbul end"};
  EXPECT_NEAR(corpus_bleu(capitals, sharp_s, {.lowercase = true}).score, 37.99178428257963, 1e-9)
      << "SS is not folded to the sharp s";
  const Texts other_sigma = {"οδοσ été strasse ёлка i\u0307stanbul end"};
  EXPECT_NEAR(corpus_bleu(capitals, other_sigma, {.lowercase = true}).score, 75.98356856515926, 1e-9);
}

TEST(Chrf, IsThatOfSacrebleu) {
  EXPECT_NEAR(corpus_chrf({"The cat is on the mat.", "There is a \"cat\", on the mat!"},
                          {"The cat sat on the mat.", "There's a cat on the mat."}),
              56.79852402490022, 1e-9);
  EXPECT_NEAR(corpus_chrf({"Ein Mädchen läuft über die Straße."}, {"Das Mädchen rennt über eine große Straße."}),
              40.65284088362184, 1e-9);
  EXPECT_NEAR(corpus_chrf({"A man rides a bike", "Two dogs"},
                          {"A man is riding a bike down the street.", "Two dogs play in the snow."}),
              23.765942165681142, 1e-9);
}

TEST(Chrf, WhitespaceDoesNotCountAndNothingRightIsZero) {
  EXPECT_NEAR(corpus_chrf({"a\u00A0b\tc d\n"}, {"abcd"}), 100, 1e-9);
  EXPECT_EQ(corpus_chrf({"a b c d e"}, {"v w x y z"}), 0);
  EXPECT_EQ(corpus_chrf({""}, {"a b c d"}), 0);
  EXPECT_EQ(corpus_chrf({"a b c d e"}, {""}), 0);
  EXPECT_EQ(corpus_chrf({""}, {""}), 0);
}

TEST(Scores, BytesThatAreNoUtf8AreCharactersOfTheirOwn) {
  const std::u32string expected = {0xE9, 0xDCC3, U'x', 0xDCED, 0xDCA0, 0xDC80, 0xDCFF};
  EXPECT_EQ(data::decode_utf8("\xC3\xA9\xC3x\xED\xA0\x80\xFF"), expected);
  EXPECT_EQ(data::decode_utf8("\xF0\x9F\x98\x80"), U"\U0001F600");
  EXPECT_NEAR(corpus_chrf({"caf\xC3 ol\xFF"}, {"café olé"}), 23.571428571428573, 1e-9);
  const Texts broken = {"a\xFF b\x80 \xC0\xAF. \xE2\x82"};
  EXPECT_NEAR(corpus_bleu(broken, broken, {.lowercase = true}).score, 100, 1e-9);
  EXPECT_NEAR(corpus_chrf(broken, broken), 100, 1e-9);
}

TEST(Scores, SidesThatDoNotMatchAreRefusedWithBothNumbers) {
  const Texts two = {"a", "b"};
  const Texts three = {"a", "b", "c"};
  for (const std::string& message :
       {error_of([&] { corpus_bleu(two, three, {}); }), error_of([&] { corpus_chrf(two, three); })}) {
    EXPECT_NE(message.find("2 hypotheses"), std::string::npos) << message;
    EXPECT_NE(message.find("3 references"), std::string::npos) << message;
  }
  EXPECT_NE(error_of([] { corpus_bleu({}, {}, {}); }).find("BLEU: there are 0 hypotheses"), std::string::npos);
  EXPECT_NE(error_of([] { corpus_chrf({}, {}); }).find("chrF: there are 0 hypotheses"), std::string::npos);
}

TEST(Tokenizer13a, SeparatesPunctuationButNotWithinNumbers) {
  EXPECT_EQ(words_of("Hello, world! (1,000.5) U.S.A... 1990-95 x-y"),
            decoded({"Hello", ",", "world", "!", "(", "1,000.5", ")", "U", ".", "S", ".", "A", ".", ".", ".", "1990",
                     "-", "95", "x-y"}));
  EXPECT_EQ(words_of("a..b ,,c 1.,2 .5 5. 3,x"),
            decoded({"a", ".", ".", "b", ",", ",", "c", "1", ".", ",", "2", ".", "5", "5", ".", "3", ",", "x"}));
  EXPECT_EQ(words_of(" -5 5- 5--6 -"), decoded({"-5", "5", "-", "5", "-", "-6", "-"}));
  EXPECT_EQ(words_of("don't $5/x_y [~] ‘q’ 3٫5 ٣.١ 犬。"),
            decoded({"don't", "$", "5", "/", "x", "_", "y", "[", "~", "]", "‘q’", "3٫5", "٣", ".", "١", "犬。"}));
}

TEST(Tokenizer13a, ReadsEntitiesSkippedMarksAndBrokenLines) {
  EXPECT_EQ(words_of("&amp;lt;b&gt; &quot;q&quot; &LT; <skipped>z co-\nop\nnew"),
            decoded({"<", "b", ">", "\"", "q", "\"", "&", "LT", ";", "z", "coop", "new"}));
  EXPECT_EQ(words_of("a\u3000b\u00A0c\x1C\u0085d\u200Be"), decoded({"a", "b", "c", "d\u200Be"}));
  EXPECT_TRUE(words_of(" \n\t ").empty());
}

TEST(Lowercase, IsThatOfPython) {
  EXPECT_EQ(data::lowercase(U"ÀÞŸŽǄǅẞΆΏЀЯѢԶꙀ\U00010400"), U"àþÿžǆǆßάώѐяѣզꙁ\U00010428");
  EXPECT_EQ(data::lowercase(U"ªºǀıſ\uFDFD犬"), U"ªºǀıſ\uFDFD犬") << "these have no lower case";
  EXPECT_EQ(data::lowercase(U"İ"), U"i\u0307");
  EXPECT_EQ(data::lowercase(U"ΟΔΟΣ ΣΑΣ Σ Σ. ΑΣ' Α'Σ ΑΣ'Α Α\u0301Σ\u0301Α 1Σ"),
            U"οδος σας σ σ. ας' α'ς ασ'α α\u0301σ\u0301α 1σ");
}

}  // namespace
}  // namespace data_tests
