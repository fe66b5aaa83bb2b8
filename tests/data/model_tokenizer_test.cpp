#include "data/tokenizers/model_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/datasets/token_corpus.h"
#include "data/prepare/prepare.h"
#include "tests/data/support.h"

namespace data_tests {
namespace {

using data::PieceKind;
using data::Specials;
using data::Tokenizer;
using Json = nlohmann::json;

const std::string kConfig = R"({"eos_token": {"content": "</s>", "special": true}})";

/// Byte-level pairs: "ab", "abab", " a"; a control piece that the merges could make ("ba"), and two behind them.
Json byte_level_file() {
  return Json::parse(R"({
    "added_tokens": [{"id": 4, "content": "ba", "normalized": false, "special": true},
                     {"id": 7, "content": "</s>", "normalized": false, "special": true},
                     {"id": 8, "content": "[x]", "normalized": false, "special": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE",
              "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "ba": 4, "abab": 5, "\u0120a": 6},
              "merges": [["b", "a"], ["a", "b"], "ab ab", ["\u0120", "a"]]}})");
}

/// What T5 has: a normaliser, spaces that are marks, and pieces with scores.
Json unigram_file() {
  return Json::parse(R"({
    "added_tokens": [{"id": 1, "content": "</s>", "normalized": false, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
    "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
                       "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
    "model": {"type": "Unigram", "unk_id": 0,
              "vocab": [["<unk>", 0.0], ["</s>", 0.0], ["\u2581", -3.0], ["\u2581a", -1.0], ["a", -2.0], ["b", -2.5],
                        ["ab", -4.0]]}})");
}

std::shared_ptr<const Tokenizer> read_json(const Json& file, const std::string& config = kConfig) {
  const TemporaryFolder folder;
  write_file(folder / "tokenizer.json", file.dump());
  if (!config.empty()) write_file(folder / "tokenizer_config.json", config);
  return data::read_model_tokenizer(folder.path());
}

std::string fault_of(const Json& file, const std::string& config = kConfig) {
  return error_of([&] { read_json(file, config); });
}

Json changed(Json file, const std::string& pointer, const Json& value) {
  file[Json::json_pointer(pointer)] = value;
  return file;
}

using Tokens = std::vector<int32_t>;

TEST(ModelTokenizer, MergesTheLeftmostOfTheBestPairs) {
  const auto tokenizer = read_json(byte_level_file());
  EXPECT_EQ(tokenizer->kind(), "hugging_face");
  EXPECT_EQ(tokenizer->vocabulary_size(), 9);
  EXPECT_EQ(tokenizer->encode("abab a"), (Tokens{5, 6}));
  EXPECT_EQ(tokenizer->encode("aab"), (Tokens{0, 3}));
  EXPECT_EQ(tokenizer->decode({5, 6}), "abab a");
  EXPECT_TRUE(tokenizer->encode("").empty());
  EXPECT_EQ(tokenizer->decode({}), "");
}

TEST(ModelTokenizer, TextNeverBecomesAControlPieceUnlessAsked) {
  const auto tokenizer = read_json(byte_level_file());
  EXPECT_EQ(tokenizer->encode("ba"), (Tokens{1, 0})) << "though a merge would make it";
  EXPECT_EQ(tokenizer->encode("ba", Specials::kParsed), (Tokens{4}));
  EXPECT_EQ(tokenizer->encode("a</s>ab", Specials::kParsed), (Tokens{0, 7, 3}));
  for (const int32_t token : tokenizer->encode("ab</s>ba</s>")) {
    EXPECT_NE(tokenizer->piece(token).kind, PieceKind::kControl);
  }
  EXPECT_EQ(tokenizer->encode("a[x]b"), (Tokens{0, 8, 1})) << "added, and not special";
  const auto unigram = read_json(unigram_file());
  EXPECT_EQ(unigram->encode("a</s>"), (Tokens{3, 0})) << "the piece is in the vocabulary of the model itself";
  EXPECT_EQ(unigram->encode("a</s>", Specials::kParsed), (Tokens{3, 1}));
}

TEST(ModelTokenizer, OwnKindsParseControlPiecesWhenAsked) {
  const auto& tokenizer = *small_tokenizer();
  const auto end = static_cast<int32_t>(tokenizer.end_of_text());
  EXPECT_EQ(tokenizer.encode("</s>", Specials::kParsed), Tokens{end});
  EXPECT_GT(tokenizer.encode("</s>").size(), 1u);
  EXPECT_EQ(data::builtin_tokenizers().at("byte").load("<2de>\n")->encode("a<2de>", Specials::kParsed),
            (Tokens{97, 257}));
}

TEST(ModelTokenizer, NormalisesAndPutsASpaceInFront) {
  const auto tokenizer = read_json(unigram_file());
  EXPECT_EQ(tokenizer->encode("A\uFF21"), (Tokens{3, 4}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("A b")), "a b");
  EXPECT_FALSE(tokenizer->lossless());
  EXPECT_EQ(tokenizer->framed({3, 4}), (Tokens{3, 4, 1}));
  EXPECT_EQ(tokenizer->encode("zz b"), (Tokens{2, 0, 2, 5})) << "a run without pieces is one unknown";
}

TEST(ModelTokenizer, TokenBytesCountTheTextAsNormalised) {
  const auto byte_level = read_json(byte_level_file());
  EXPECT_EQ(data::token_bytes(*byte_level), (std::vector<int32_t>{1, 1, 1, 2, 0, 4, 2, 0, 3}));
  EXPECT_EQ(data::token_bytes(*read_json(unigram_file())), (std::vector<int32_t>{0, 0, 1, 2, 1, 1, 2}));
}

TEST(ModelTokenizer, SerializedFormAndFilesAreWhatCameIn) {
  const auto tokenizer = read_json(byte_level_file());
  const auto again = data::builtin_tokenizers().at("hugging_face").load(tokenizer->serialized());
  EXPECT_EQ(again->encode("abab a"), (Tokens{5, 6}));
  EXPECT_EQ(again->end_of_text(), 7);
  EXPECT_EQ(again->files(), tokenizer->files());
  EXPECT_EQ(tokenizer->files().at("tokenizer.json"), byte_level_file().dump());
  EXPECT_EQ(tokenizer->files().at("tokenizer_config.json"), kConfig);
  const std::string whole = tokenizer->serialized();
  const auto load = [](const std::string& text) {
    return error_of([&] { data::builtin_tokenizers().at("hugging_face").load(text); });
  };
  EXPECT_NE(load(whole.substr(0, whole.size() - 1)).find("damaged"), std::string::npos);
  EXPECT_NE(load("").find("tokenizer.json is missing"), std::string::npos);
  EXPECT_NE(load("../x\n1\na").find("damaged"), std::string::npos);
  EXPECT_NE(load("tokenizer.json\n99999999999999999999\na").find("damaged"), std::string::npos);
}

TEST(ModelTokenizer, EndOfTextComesFromWhereModelsKeepIt) {
  Json file = byte_level_file();
  EXPECT_EQ(read_json(file, R"({"eos_token": "[x]"})")->end_of_text(), 8);
  EXPECT_EQ(read_json(file, R"({"eos_token": "[x]"})")->encode("[x]a").back(), 0) << "it is a control piece now";
  const std::string missing = fault_of(file, "");
  EXPECT_NE(missing.find("eos_token in tokenizer_config.json"), std::string::npos) << missing;
  EXPECT_NE(fault_of(file, R"({"eos_token": "<none>"})").find("'<none>'"), std::string::npos);
  const TemporaryFolder folder;
  write_file(folder / "tokenizer.json", file.dump());
  write_file(folder / "config.json", R"({"eos_token_id": 5})");
  EXPECT_EQ(data::read_model_tokenizer(folder.path())->end_of_text(), 5);
  write_file(folder / "generation_config.json", R"({"eos_token_id": [7, 8]})");
  EXPECT_EQ(data::read_model_tokenizer(folder / "tokenizer.json")->end_of_text(), 7);
  write_file(folder / "generation_config.json", R"({"eos_token_id": 9})");
  EXPECT_NE(error_of([&] { data::read_model_tokenizer(folder.path()); }).find("is 9"), std::string::npos);
}

TEST(ModelTokenizer, ManyThreadsGetTheSameTokens) {
  Json file = byte_level_file();
  file["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "a+|b+| "}}}, {"behavior", "Isolated"}};
  const auto tokenizer = read_json(file);
  const std::string text = "ab aab bbba [x] ab";
  const Tokens expected = tokenizer->encode(text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 500; ++n)
        EXPECT_EQ(tokenizer->encode(text + std::string(static_cast<size_t>(n % 7), ' ')).front(), expected.front());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ModelTokenizer, WhatCannotBeUsedIsNamedWithItsPlace) {
  const Json file = byte_level_file();
  const auto says = [](const std::string& message, const std::vector<std::string>& words) {
    for (const std::string& word : words) EXPECT_NE(message.find(word), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  };
  says(fault_of(changed(file, "/model/type", "WordPiece")),
       {"tokenizer.json: model.type", "'WordPiece'", "BPE, Unigram"});
  says(fault_of(changed(file, "/normalizer", {{"type", "NFX"}})), {"normalizer.type", "'NFX'", "NFC", "Sequence"});
  says(fault_of(changed(file, "/pre_tokenizer/type", "Cut")), {"pre_tokenizer.type", "'Cut'", "ByteLevel"});
  says(fault_of(changed(file, "/decoder/type", "CTC")), {"decoder.type", "'CTC'", "ByteFallback"});
  says(fault_of(changed(file, "/post_processor", {{"type", "Odd"}})),
       {"post_processor.type", "'Odd'", "TemplateProcessing"});
  says(fault_of(changed(file, "/model/vocab/ab", 1)), {"model.vocab[\"b\"]", "token 1", "'ab' too"});
  says(fault_of(changed(file, "/model/vocab/ab", int64_t{9223372036854775807})),
       {"vocab[\"ab\"]", "9223372036854775807"});
  says(fault_of(changed(file, "/model/vocab/ab", 18446744073709551615u)), {"vocab[\"ab\"]", "18446744073709551615"});
  says(fault_of(changed(file, "/model/vocab/ab", -1)), {"vocab[\"ab\"]", "-1"});
  says(fault_of(changed(file, "/model/merges/1", "a z")), {"model.merges[1]", "'z' is no piece"});
  says(fault_of(changed(file, "/model/merges/0", "a b c")), {"model.merges[0]", "'a b c'"});
  says(fault_of(changed(file, "/model/merges", 5)), {"model.merges", "must be an array"});
  says(fault_of(changed(file, "/model/dropout", 0.1)), {"model.dropout", "random"});
  says(fault_of(changed(file, "/model/unk_token", "?")), {"model.unk_token", "'?'"});
  says(fault_of(changed(file, "/added_tokens/1/id", 12)), {"added_tokens[1].id", "12 for '</s>'", "legal: 7"});
  says(fault_of(changed(file, "/added_tokens/0/id", 3)), {"added_tokens[0].id", "legal: 4"});
  says(fault_of(changed(file, "/added_tokens/2/content", "</s>")), {"added_tokens[2]", "already"});
  says(fault_of(changed(unigram_file(), "/model/unk_id", 99)), {"model.unk_id", "99"});
  says(fault_of(changed(unigram_file(), "/post_processor/special_tokens/<~1s>/ids/0", 7)), {"ids[0]", "7"});
  says(fault_of(changed(unigram_file(), "/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}})),
       {"normalizer.precompiled_charsmap", "base64"});
  says(
      fault_of(changed(unigram_file(), "/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}})),
      {"normalizer.precompiled_charsmap", "trie"});
}

TEST(ModelTokenizer, ExpressionsThatDoNotCompileOrNeverEndAreNamed) {
  const auto with = [](const std::string& expression) {
    return changed(byte_level_file(), "/pre_tokenizer",
                   {{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}});
  };
  const std::string open = fault_of(with("\\s+|(a"));
  EXPECT_NE(open.find("pre_tokenizer.pattern.Regex"), std::string::npos) << open;
  EXPECT_NE(open.find("'\\s+|(a'"), std::string::npos) << open;
  EXPECT_NE(open.find("at byte 6, missing closing parenthesis"), std::string::npos) << open;
  EXPECT_NE(fault_of(with("[a&&b]")).find("at byte 2, &&"), std::string::npos);
  EXPECT_NE(fault_of(with("[a[b]]")).find("a set inside a set"), std::string::npos);
  EXPECT_NE(fault_of(with("[a")).find("has no end"), std::string::npos);
  EXPECT_NE(fault_of(with("\\p{Nonsense}")).find("unknown property"), std::string::npos);
  EXPECT_NE(fault_of(with("(*LIMIT_MATCH=1)a")).find("verb"), std::string::npos);
  EXPECT_NE(fault_of(with(std::string(70000, 'a'))).find("70000 bytes"), std::string::npos);
  const auto endless = read_json(with("(a|a|a?)+[cd]"));
  const std::string costly = error_of([&] { endless->encode(std::string(60, 'a')); });
  EXPECT_NE(costly.find("costs too much on a text of 60 bytes"), std::string::npos) << costly;
}

TEST(ModelTokenizer, FilesThatAreNoTokenizersAreRefused) {
  const TemporaryFolder folder;
  const auto fault = [&](const std::string& text) {
    write_file(folder / "tokenizer.json", text);
    return error_of([&] { data::read_model_tokenizer(folder.path()); });
  };
  EXPECT_NE(error_of([&] { data::read_model_tokenizer(folder.path()); }).find("holds no tokenizer"), std::string::npos);
  EXPECT_NE(error_of([&] { data::read_model_tokenizer(folder / "x"); }).find("is no file"), std::string::npos);
  EXPECT_NE(fault("{\"a\": ").find("tokenizer.json: parse error at line 1"), std::string::npos);
  EXPECT_NE(fault("{\"a\": \"\xFF\"}").find("byte 0xFF at offset 7"), std::string::npos);
  EXPECT_NE(fault("[]").find("must be an object"), std::string::npos);
  EXPECT_NE(fault("{}").find("model"), std::string::npos);
  EXPECT_NE(fault(std::string(200000, '[')).find("tokenizer.json"), std::string::npos);
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 100; ++i) deep = {{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  EXPECT_NE(fault(changed(byte_level_file(), "/normalizer", deep).dump()).find("sequences inside"), std::string::npos);
  std::filesystem::resize_file(folder / "tokenizer.json", uint64_t{1} << 40);  // sparse
  EXPECT_NE(error_of([&] { data::read_model_tokenizer(folder.path()); }).find("1099511627776 bytes"),
            std::string::npos);
  std::filesystem::remove(folder / "tokenizer.json");
  write_file(folder / "tokenizer.model", "no model");
  EXPECT_NE(error_of([&] { data::read_model_tokenizer(folder.path()); }).find("not a SentencePiece model"),
            std::string::npos);
}

TEST(ModelTokenizer, SentencePieceModelsAreReadWithWhatLiesBesideThem) {
  const TemporaryFolder folder;
  const Tokenizer& own = *small_tokenizer();
  write_file(folder / "tokenizer.model", own.serialized());
  write_file(folder / "added_tokens.json", R"({"<pad>": 360, "<end>": 361})");
  write_file(folder / "tokenizer_config.json",
             R"({"eos_token": "<end>", "added_tokens_decoder": {"360": {"content": "<pad>"}}})");
  const auto tokenizer = data::read_model_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->kind(), "sentencepiece_model");
  EXPECT_EQ(tokenizer->vocabulary_size(), 362);
  EXPECT_EQ(tokenizer->end_of_text(), 361);
  const std::string text = sentences(3, 5);
  EXPECT_EQ(tokenizer->encode(text), own.encode(text));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_EQ(tokenizer->encode("<pad>", Specials::kParsed), Tokens{360});
  EXPECT_EQ(tokenizer->decode({360, 361}), "");
  EXPECT_EQ(tokenizer->files().at("tokenizer.model"), own.serialized());
  const auto again = data::builtin_tokenizers().at("sentencepiece_model").load(tokenizer->serialized());
  EXPECT_EQ(again->encode(text), own.encode(text));
  write_file(folder / "added_tokens.json", R"({"<pad>": 99999999})");
  EXPECT_NE(error_of([&] { data::read_model_tokenizer(folder.path()); }).find("99999999"), std::string::npos);
}

TEST(ModelTokenizer, AnEndOfTextThatIsAPieceLikeOthersStaysTextToo) {
  const TemporaryFolder folder;
  const Tokenizer& own = *small_tokenizer();
  const std::string text = sentences(4, 5);
  const Tokens tokens = own.encode(text);
  const auto longest = std::max_element(tokens.begin(), tokens.end(), [&](int32_t a, int32_t b) {
    return own.piece(a).text.size() < own.piece(b).text.size();
  });
  write_file(folder / "tokenizer.model", own.serialized());
  write_file(folder / "tokenizer_config.json", Json{{"eos_token", own.piece(*longest).text}}.dump());
  const auto tokenizer = data::read_model_tokenizer(folder.path());
  ASSERT_EQ(tokenizer->end_of_text(), *longest);
  const Tokens spelt = tokenizer->encode(text);
  EXPECT_EQ(std::count(spelt.begin(), spelt.end(), *longest), 0);
  EXPECT_EQ(tokenizer->decode(spelt), text);
}

/// A model that begins like a real one, its normaliser's table as given.
std::string model_with_table(const std::string& table) {
  const std::string spec = '\x12' + std::string(1, static_cast<char>(table.size())) + table;
  return '\x1A' + std::string(1, static_cast<char>(spec.size())) + spec;
}

TEST(ModelTokenizer, ATableThatWouldLeadOutsideIsRefusedBeforeItIsTrusted) {
  const TemporaryFolder folder;
  const auto fault = [&](const std::string& model) {
    write_file(folder / "tokenizer.model", model);
    return error_of([&] { data::read_model_tokenizer(folder.path()); });
  };
  using namespace std::string_literals;
  const std::string two_units = "\x08\0\0\0\0\x04\0\0\0\0\0\0ab\0"s;
  EXPECT_NE(fault(model_with_table(two_units)).find("outside of its table"), std::string::npos);
  EXPECT_NE(fault(model_with_table("\x09\0\0\0xxxxxxxxx"s)).find("9 would be its trie"), std::string::npos);
  EXPECT_NE(fault("\x1B"s + model_with_table(two_units)).find("at byte 0"), std::string::npos) << "a group";
  EXPECT_NE(fault("\x1A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"s).find("at byte 0"), std::string::npos);
}

TEST(ModelTokenizer, PrepareUsesItAndTheTokenFileCarriesIt) {
  const TemporaryFolder folder;
  write_file(folder / "model/tokenizer.json", unigram_file().dump());
  write_file(folder / "model/tokenizer_config.json", kConfig);
  write_file(folder / "text.jsonl", "{\"text\": \"a b ab\"}\n{\"text\": \"A z</s>\"}\n");
  data::PrepareOptions options;
  options.text = {folder / "text.jsonl"};
  options.output = folder / "tokens.h5";
  options.tokenizer = folder / "model";
  options.heldout = 0;
  const auto summary = data::prepare(options);
  EXPECT_EQ(summary.tokenizer, "hugging_face");
  const auto corpus = data::TokenCorpus::open(options.output);
  EXPECT_EQ(corpus.tokenizer().files().at("tokenizer.json"), unigram_file().dump());
  EXPECT_EQ(corpus.documents(), 2);
  const std::string notes = data::to_text(summary);
  EXPECT_NE(notes.find("does not give back 1 of 2 texts"), std::string::npos) << notes;
  options.tokenizer = folder / "none";
  options.overwrite = data::Overwrite::kReplace;
  EXPECT_NE(error_of([&] { data::prepare(options); }).find("known: byte, sentencepiece, and a model's own"),
            std::string::npos);
  options.tokenizer = folder / "model";
  options.text.clear();
  write_file(folder / "en.txt", "a\n");
  write_file(folder / "de.txt", "b\n");
  options.parallel = {"en=" + (folder / "en.txt") + ",de=" + (folder / "de.txt")};
  EXPECT_NE(error_of([&] { data::prepare(options); }).find("no control piece '<2"), std::string::npos);
}

}  // namespace
}  // namespace data_tests
