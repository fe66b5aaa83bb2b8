#include "launch/interchange/tokenizer_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/tokenizers/hugging_face_tokenizer.h"
#include "tests/launch/interchange/piece_tokenizer.h"
#include "tests/launch/interchange/tiny_model.h"

namespace launch::interchange {
namespace {

using data::Piece;
using data::PieceKind;

const Piece kEnd{.text = "</s>", .kind = PieceKind::kControl};

Piece normal(const std::string& text, double score) { return {text, score, PieceKind::kNormal}; }

nlohmann::json parsed(const data::Tokenizer& tokenizer) { return nlohmann::json::parse(tokenizer_json(tokenizer)); }

TEST(DeriveMerges, BestScoreFirstWithAllItsSplits) {
  const std::vector<Merge> merges = derive_merges(
      {normal("a", -10), normal("b", -11), normal("ba", -2), normal("ab", -1), normal("aba", -3), normal("bab", -4)});
  EXPECT_EQ(merges, (std::vector<Merge>{{"a", "b"}, {"b", "a"}, {"ab", "a"}, {"a", "ba"}, {"ba", "b"}, {"b", "ab"}}));
}

TEST(DeriveMerges, EqualScoresGoByToken) {
  EXPECT_EQ(derive_merges({normal("a", 0), normal("b", 0), normal("ba", 0), normal("ab", 0)}),
            (std::vector<Merge>{{"b", "a"}, {"a", "b"}}));
}

TEST(DeriveMerges, SplitsAtCharactersNotAtBytes) {
  EXPECT_EQ(derive_merges({normal("é", 0), normal("日", 0), normal("é日", -1)}), (std::vector<Merge>{{"é", "日"}}));
}

TEST(DeriveMerges, OnlyNormalPiecesTakePart) {
  const Piece byte{.text = "<0x61>", .kind = PieceKind::kByte};
  EXPECT_TRUE(derive_merges({kEnd, byte, normal("<", 0), normal("a", 0)}).empty());
}

TEST(DeriveMerges, AnUnreachablePieceNeedsNone) {
  // "abcd" would need "ab" or "cd" or longer parts, which no one makes: SentencePiece never emits it either.
  EXPECT_TRUE(
      derive_merges({normal("a", 0), normal("b", 0), normal("c", 0), normal("d", 0), normal("abcd", -1)}).empty());
}

TEST(DeriveMerges, APieceOfUnknownCharactersIsRefused) {
  expect_user_error([] { derive_merges({normal("a", 0), normal("az", -1)}); }, {"'az'", "token 1"});
}

TEST(TokenizerFile, SentencepieceFallsBackToBytes) {
  const auto tokenizer = byte_tokenizer(
      "sentencepiece", {normal("a", -2), normal("▁", -3), normal("▁a", -1), {"<unk>", 0, PieceKind::kUnknown}, kEnd});
  const nlohmann::json file = parsed(*tokenizer);
  EXPECT_EQ(file["model"]["type"], "BPE");
  EXPECT_EQ(file["model"]["byte_fallback"], true);
  EXPECT_EQ(file["model"]["vocab"].size(), 261u);
  EXPECT_EQ(file["model"]["vocab"]["<0x0A>"], 10);
  EXPECT_EQ(file["model"]["vocab"]["</s>"], 260);
  EXPECT_TRUE(file["normalizer"].is_null());
  EXPECT_TRUE(file["post_processor"].is_null());
}

TEST(TokenizerFile, SpacesAreSpacesSoThatALiteralMarkIsNot) {
  const auto tokenizer = byte_tokenizer("sentencepiece", {normal("a", -2), normal("▁", -3), normal("▁a", -1), kEnd});
  const nlohmann::json model = parsed(*tokenizer)["model"];
  EXPECT_EQ(model["vocab"][" a"], 258);
  EXPECT_FALSE(model["vocab"].contains("▁"));
  EXPECT_EQ(model["merges"], nlohmann::json::array({nlohmann::json::array({" ", "a"})}));
}

TEST(TokenizerFile, ControlPiecesAreSpecialTokens) {
  const auto tokenizer = byte_tokenizer("sentencepiece", {{"<s>", 0, PieceKind::kControl}, kEnd});
  const nlohmann::json added = parsed(*tokenizer)["added_tokens"];
  ASSERT_EQ(added.size(), 2u);
  EXPECT_EQ(added[0]["content"], "<s>");
  EXPECT_EQ(added[1]["content"], "</s>");
  EXPECT_EQ(added[1]["id"], 257);
  EXPECT_EQ(added[1]["special"], true);
}

TEST(TokenizerFile, TheUnknownPieceClaimsNoText) {
  const auto tokenizer = byte_tokenizer("sentencepiece", {{"<unk>", 0, PieceKind::kUnknown}, kEnd});
  const nlohmann::json file = parsed(*tokenizer);
  EXPECT_FALSE(file["model"]["vocab"].contains("<unk>"));
  EXPECT_EQ(file["model"]["vocab"]["<|unknown|>"], 256);
  EXPECT_EQ(file["added_tokens"][0]["content"], "<|unknown|>");  // special: decoding skips it
}

TEST(TokenizerFile, BytesUseTheByteLevelAlphabet) {
  const nlohmann::json file = parsed(*byte_tokenizer("byte", {kEnd}));
  const nlohmann::json& vocabulary = file["model"]["vocab"];
  EXPECT_EQ(vocabulary.size(), 257u);
  EXPECT_EQ(vocabulary["A"], 0x41);
  EXPECT_EQ(vocabulary["\u0120"], 0x20);  // the space, as every byte-level vocabulary spells it
  EXPECT_EQ(vocabulary["\u010A"], 0x0A);
  EXPECT_EQ(vocabulary["\u0143"], 0xAD);
  EXPECT_EQ(vocabulary["\u00FF"], 0xFF);
  EXPECT_EQ(file["pre_tokenizer"]["use_regex"], false);
  EXPECT_EQ(file["pre_tokenizer"]["add_prefix_space"], false);
  EXPECT_EQ(file["decoder"]["type"], "ByteLevel");
  EXPECT_TRUE(file["model"]["merges"].empty());
}

TEST(TokenizerFile, WhatWouldLoseTextIsRefused) {
  const PieceTokenizer no_bytes("sentencepiece", {normal("a", 0), kEnd}, 1);
  expect_user_error([&] { tokenizer_json(no_bytes); }, {"<0x00>"});
  expect_user_error([] { tokenizer_json(*byte_tokenizer("character", {kEnd})); }, {"'character'", "sentencepiece"});
  const auto twins = byte_tokenizer("sentencepiece", {normal("a", 0), normal("a", -1), kEnd});
  expect_user_error([&] { tokenizer_json(*twins); }, {"256", "257", "'a'"});
}

TEST(TokenizerFile, ConfigNamesTheEndOfTextAndAddsNothing) {
  const auto tokenizer = byte_tokenizer("byte", {kEnd});
  const nlohmann::json config = nlohmann::json::parse(tokenizer_config_json(*tokenizer, 128));
  EXPECT_EQ(config["eos_token"], "</s>");
  EXPECT_EQ(config["pad_token"], "</s>");
  EXPECT_EQ(config["padding_side"], "left");
  EXPECT_EQ(config["add_bos_token"], false);
  EXPECT_EQ(config["model_max_length"], 128);
  const auto endless = byte_tokenizer("byte", {normal("a", 0)});
  expect_user_error([&] { tokenizer_config_json(*endless, 128); }, {"256", "'a'", "control"});
}

TEST(TokenizerFile, AModelsOwnTokenizerIsWrittenBackAsItCame) {
  const data::TokenizerFiles files{
      {"tokenizer.json",
       R"({"model": {"type": "BPE", "vocab": {"a" : 0, "b": 1}, "merges": []},   "added_tokens": []})"},
      {"chat_template.jinja", "{{ messages }}\n"},
      {"generation_config.json", R"({"eos_token_id": 1})"}};
  const auto written = tokenizer_files(*data::make_hugging_face(files, ""), 128);
  EXPECT_EQ(written.size(), 2u) << "the model's configuration is the export's own";
  EXPECT_EQ(written.at("tokenizer.json"), files.at("tokenizer.json"));
  EXPECT_EQ(written.at("chat_template.jinja"), files.at("chat_template.jinja"));
  EXPECT_EQ(tokenizer_files(*byte_tokenizer("byte", {kEnd}), 128).size(), 2u);
}

}  // namespace
}  // namespace launch::interchange
