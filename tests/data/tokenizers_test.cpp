#include <algorithm>
#include <numeric>

#include "data/text/utf8.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::Piece;
using data::PieceKind;
using data::Tokenizer;

std::vector<std::shared_ptr<const Tokenizer>> both() { return {data::load_byte_tokenizer(""), small_tokenizer()}; }

/// Whole words, spaces kept in front, as the model's own library would see them: the oracle of the word cache.
std::vector<int32_t> encode_in_one_piece_of_text(const Tokenizer& tokenizer, const std::string& text) {
  // A fresh tokenizer has an empty cache, and a word of more than 64 bytes is never cached.
  return data::load_sentencepiece(tokenizer.serialized())->encode(text);
}

TEST(Tokenizers, DecodeGivesBackAnyValidText) {
  for (const auto& tokenizer : both()) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const std::string text = random_text(seed, 1 + static_cast<int64_t>(seed % 97));
      ASSERT_EQ(data::valid_utf8_prefix(text), text.size());
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << tokenizer->kind() << ", seed " << seed;
    }
  }
}

TEST(Tokenizers, EmptyTextIsNoTokens) {
  for (const auto& tokenizer : both()) EXPECT_TRUE(tokenizer->encode("").empty());
}

TEST(Tokenizers, TextThatSpellsControlPiecesStaysText) {
  for (const auto& tokenizer : both()) {
    for (const std::string text : {"</s>", "a </s> b", "<s>", "<unk>", "<0x0A>", "</s></s>"}) {
      for (const int32_t token : tokenizer->encode(text)) {
        EXPECT_NE(token, tokenizer->end_of_text()) << text;
        EXPECT_NE(tokenizer->piece(token).kind, PieceKind::kControl) << text;
        EXPECT_NE(tokenizer->piece(token).kind, PieceKind::kUnknown) << text;
      }
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    }
  }
}

TEST(Tokenizers, TokenBytesAddUpToTheText) {
  for (const auto& tokenizer : both()) {
    const auto bytes = data::token_bytes(*tokenizer);
    ASSERT_EQ(static_cast<int64_t>(bytes.size()), tokenizer->vocabulary_size());
    EXPECT_EQ(bytes[static_cast<size_t>(tokenizer->end_of_text())], 0);
    const std::string text = random_text(3, 500) + sentences(4, 50);
    int64_t total = 0;
    for (const int32_t token : tokenizer->encode(text)) total += bytes[static_cast<size_t>(token)];
    EXPECT_EQ(total, static_cast<int64_t>(text.size()));
  }
}

TEST(Tokenizers, SerializedFormMakesTheSameTokenizer) {
  const auto table = data::builtin_tokenizers();
  const std::string text = random_text(5, 300) + sentences(6, 20);
  for (const auto& tokenizer : both()) {
    const auto again = table.at(tokenizer->kind()).load(tokenizer->serialized());
    EXPECT_EQ(again->encode(text), tokenizer->encode(text));
    EXPECT_EQ(again->end_of_text(), tokenizer->end_of_text());
  }
  EXPECT_NE(error_of([&] { table.at("bite"); }).find("known: byte, sentencepiece"), std::string::npos);
}

TEST(Tokenizers, TokenOutsideTheVocabularyIsRefused) {
  for (const auto& tokenizer : both()) {
    const auto size = static_cast<int32_t>(tokenizer->vocabulary_size());
    EXPECT_NE(error_of([&] { tokenizer->decode({size}); }).find(std::to_string(size)), std::string::npos);
    error_of([&] { tokenizer->piece(-1); });
  }
}

TEST(SentencePiece, EncodingLineByLineEqualsEncodingTheWhole) {
  const Tokenizer& tokenizer = *small_tokenizer();
  const std::string text = sentences(7, 60) + "\n\n  indented\n" + random_text(8, 400);
  std::vector<int32_t> by_line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    const auto line = tokenizer.encode(std::string_view(text).substr(begin, end - begin));
    by_line.insert(by_line.end(), line.begin(), line.end());
    begin = end;
  }
  EXPECT_EQ(tokenizer.encode(text), by_line);
  EXPECT_EQ(tokenizer.encode(text), encode_in_one_piece_of_text(tokenizer, text));
}

/// Byte-pair encoding from piece() alone, as an exporter's reader does it: characters first (bytes where a character is
/// no piece), then always the leftmost of the best pairs.
std::vector<int32_t> merge_by_scores(const Tokenizer& tokenizer, const std::string& text) {
  std::map<std::string, int64_t> id_of;
  std::map<char, int32_t> byte_token;
  for (int64_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    const Piece piece = tokenizer.piece(id);
    if (piece.kind == PieceKind::kNormal) id_of[piece.text] = id;
    if (piece.kind == PieceKind::kByte) {
      byte_token[static_cast<char>(std::stoi(piece.text.substr(3, 2), nullptr, 16))] = static_cast<int32_t>(id);
    }
  }
  std::vector<std::string> symbols;
  for (size_t at = 0; at < text.size(); at += data::code_point_bytes(text, at)) {
    const std::string character = text.substr(at, data::code_point_bytes(text, at));
    symbols.push_back(character == " " ? "\xE2\x96\x81" : character);
  }
  while (true) {
    size_t best = symbols.size();
    double best_score = -1e30;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = id_of.find(symbols[i] + symbols[i + 1]);
      if (found == id_of.end() || tokenizer.piece(found->second).score <= best_score) continue;
      best = i;
      best_score = tokenizer.piece(found->second).score;
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<int64_t>(best) + 1);
  }
  std::vector<int32_t> tokens;
  for (const std::string& symbol : symbols) {
    const auto found = id_of.find(symbol);
    if (found != id_of.end()) {
      tokens.push_back(static_cast<int32_t>(found->second));
    } else {
      for (const char byte : symbol) tokens.push_back(byte_token.at(byte));
    }
  }
  return tokens;
}

TEST(SentencePiece, TokensFollowFromPiecesAndScoresAlone) {
  const Tokenizer& tokenizer = *small_tokenizer();
  for (uint64_t seed = 0; seed < 30; ++seed) {
    std::string text = sentences(seed, 4) + random_text(seed, 60) + "    spaces   ";
    for (size_t at; (at = text.find("\xE2\x96\x81")) != std::string::npos;)
      text.erase(at, 3);  // the documented exception
    ASSERT_EQ(tokenizer.encode(text), merge_by_scores(tokenizer, text)) << "seed " << seed;
  }
}

TEST(SentencePiece, TrainingTwiceGivesTheSameModel) {
  const std::string text = sentences(11, 300);
  const data::TokenizerTraining training{.vocabulary_size = 340};
  EXPECT_EQ(data::train_sentencepiece({text}, training)->serialized(),
            data::train_sentencepiece({text}, training)->serialized());
}

TEST(SentencePiece, VocabularyHasTheWantedSizeAndEveryByte) {
  const Tokenizer& tokenizer = *small_tokenizer();
  EXPECT_EQ(tokenizer.vocabulary_size(), 360);
  EXPECT_EQ(tokenizer.piece(tokenizer.end_of_text()).text, "</s>");
  int64_t bytes = 0;
  for (int64_t id = 0; id < 360; ++id) bytes += tokenizer.piece(id).kind == PieceKind::kByte;
  EXPECT_EQ(bytes, 256);
}

TEST(SentencePiece, LongLinesAreCutAndNotSkipped) {
  std::string line = sentences(12, 400);
  std::replace(line.begin(), line.end(), '\n', ' ');
  ASSERT_GT(line.size(), 10000u);
  const auto tokenizer = data::train_sentencepiece({line}, {.vocabulary_size = 340});
  EXPECT_LT(tokenizer->encode(" capacity balance").size(), 6u);
  const std::string one_word(20000, 'a');
  const auto without_spaces = data::train_sentencepiece({one_word}, {.vocabulary_size = 263});
  EXPECT_LT(without_spaces->encode(std::string(40, 'a')).size(), 40u);
  EXPECT_EQ(without_spaces->decode(without_spaces->encode(" a b ")), " a b ")
      << "a space is a piece though the text had none";
}

TEST(SentencePiece, TrainingTextMayHoldTheTrainersOwnMarks) {
  std::string text;
  for (int i = 0; i < 50; ++i)
    text += "</s> <s> <0x0A> \xE2\x96\x85 expert\xE2\x96\x85router " + std::string(1, '\0') + " x\n";
  const auto tokenizer = data::train_sentencepiece({text}, {.vocabulary_size = 290});
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_LT(tokenizer->encode("expert").size(), 6u);
}

TEST(SentencePiece, SampleIsTakenFromAllOfTheTexts) {
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < 50; ++i) texts.push_back(sentences(i, 20));
  texts.push_back([] {
    std::string late;
    for (int i = 0; i < 300; ++i) late += "zzyzx qqfrob ";
    return late;
  }());
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto sampled = data::train_sentencepiece(views, {.vocabulary_size = 330, .sample_bytes = 20000});
  EXPECT_EQ(sampled->vocabulary_size(), 330);
  EXPECT_EQ(sampled->decode(sampled->encode(texts.back())), texts.back());
}

TEST(SentencePiece, ImpossibleVocabulariesAreRefusedWithNumbers) {
  const std::string text = sentences(13, 100);
  const auto train = [&](int64_t size) {
    return error_of([&] { data::train_sentencepiece({text}, {.vocabulary_size = size}); });
  };
  EXPECT_NE(train(100).find("vocabulary of 100 is too small"), std::string::npos);
  EXPECT_NE(train(270).find("270"), std::string::npos);
  EXPECT_NE(train(50000).find("value <= "), std::string::npos);
  EXPECT_EQ(train(50000).find(".cc("), std::string::npos) << "no source places in messages";
  // What a message advises works, in this program's words.
  const auto number_after = [](const std::string& message, const std::string& words) {
    const size_t at = message.find(words);
    EXPECT_NE(at, std::string::npos) << message;
    return at == std::string::npos ? 0 : std::stoll(message.substr(at + words.size()));
  };
  for (const int64_t impossible : {270, 50000}) {
    const std::string message = train(impossible);
    EXPECT_EQ(message.find("--character_coverage"), std::string::npos) << message;
    const int64_t advised = number_after(message, impossible == 270 ? "need at least " : "--vocabulary a value <= ");
    EXPECT_EQ(data::train_sentencepiece({text}, {.vocabulary_size = advised})->vocabulary_size(), advised);
  }
  const std::string little = error_of([] { data::train_sentencepiece({"ab"}, {.vocabulary_size = 300}); });
  EXPECT_NE(little.find("--tokenizer byte"), std::string::npos) << little;
  EXPECT_NE(error_of([] { data::train_sentencepiece({}, {}); }).find("no text"), std::string::npos);
}

TEST(SentencePiece, InvalidTextAndForeignModelsAreRefused) {
  EXPECT_NE(error_of([] { small_tokenizer()->encode("ab\xFFz"); }).find("byte 0xFF at offset 2"), std::string::npos);
  EXPECT_NE(error_of([] { data::load_sentencepiece("not a model"); }).find("SentencePiece"), std::string::npos);
  EXPECT_NE(error_of([] { data::load_sentencepiece(""); }).find("SentencePiece"), std::string::npos);
  EXPECT_NE(error_of([] { data::load_byte_tokenizer("x"); }).find("1 bytes"), std::string::npos);
}

TEST(SentencePiece, BytesThatAreNoTextDecodeToReplacementCharacters) {
  const Tokenizer& tokenizer = *small_tokenizer();
  std::vector<int32_t> tokens = tokenizer.encode("\xF0\x9F\x98\x80");  // not in the vocabulary: four byte pieces
  ASSERT_EQ(tokens.size(), 4u);
  EXPECT_EQ(tokenizer.decode(tokens), "\xF0\x9F\x98\x80");
  tokens.pop_back();
  EXPECT_EQ(tokenizer.decode(tokens), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Utf8, FaultsAreFoundWhereTheyAre) {
  const auto prefix = [](const std::string& text) { return data::valid_utf8_prefix(text); };
  EXPECT_EQ(prefix("a\xC3\xA9z"), 4u);
  EXPECT_EQ(prefix("ab\xC0\xAF"), 2u) << "overlong";
  EXPECT_EQ(prefix("\xE0\x80\xAF"), 0u) << "overlong";
  EXPECT_EQ(prefix("abc\xED\xA0\x80"), 3u) << "surrogate";
  EXPECT_EQ(prefix("\xF4\x90\x80\x80"), 0u) << "above U+10FFFF";
  EXPECT_EQ(prefix("x\xE2\x82"), 1u) << "cut off";
  EXPECT_EQ(prefix("x\x80"), 1u) << "continuation alone";
  EXPECT_NE(data::describe_utf8_fault("abc\xED\xA0\x80").find("byte 0xED at offset 3 (half of a surrogate"),
            std::string::npos);
}

}  // namespace
}  // namespace data_tests
