#include "launch/interchange/tokenizer_file.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>

#include "data/shaping/byte_alphabet.h"
#include "data/tokenizers/marked_spaces.h"
#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

using data::kSpaceMark;
using data::Piece;
using data::PieceKind;
using Json = nlohmann::ordered_json;

std::vector<Piece> all_pieces(const data::Tokenizer& tokenizer) {
  std::vector<Piece> pieces;
  for (int64_t token = 0; token < tokenizer.vocabulary_size(); ++token) pieces.push_back(tokenizer.piece(token));
  return pieces;
}

/// Where the characters of a UTF-8 text begin, its end included.
std::vector<size_t> character_starts(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t at = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) starts.push_back(at);
  }
  starts.push_back(text.size());
  return starts;
}

/// The tokens of byte 0 ... 255, found by the pieces' texts "<0x00>" ... "<0xFF>".
std::array<int64_t, 256> byte_tokens(const std::vector<Piece>& pieces) {
  std::map<std::string, int64_t> by_text;
  for (size_t token = 0; token < pieces.size(); ++token) {
    if (pieces[token].kind == PieceKind::kByte) by_text[pieces[token].text] = static_cast<int64_t>(token);
  }
  std::array<int64_t, 256> tokens{};
  for (size_t byte = 0; byte < tokens.size(); ++byte) {
    const std::string text = data::byte_piece(static_cast<uint8_t>(byte));
    const auto found = by_text.find(text);
    if (found == by_text.end()) {
      parallel::user_error("the tokenizer has no byte piece ", text, ": such a vocabulary cannot be exported, because ",
                           "text outside of it would be lost");
    }
    tokens[byte] = found->second;
  }
  return tokens;
}

/// Spaces as spaces: then a literal U+2581 in a text is no piece, and falls back to its bytes as it does here.
void spell_spaces(std::vector<Piece>& pieces) {
  for (Piece& piece : pieces) {
    if (piece.kind != PieceKind::kNormal) continue;
    for (size_t at = piece.text.find(kSpaceMark); at != std::string::npos; at = piece.text.find(kSpaceMark, at)) {
      piece.text.replace(at, kSpaceMark.size(), " ");
    }
  }
}

/// No text becomes the unknown piece, so its name must not claim text, as "<unk>" would; decoding skips it.
void spell_unknown(std::vector<Piece>& pieces) {
  for (Piece& piece : pieces) {
    if (piece.kind == PieceKind::kUnknown) piece.text = "<|unknown|>";
  }
}

void spell_byte_level(std::vector<Piece>& pieces, const std::array<int64_t, 256>& tokens) {
  const std::array<std::string, 256>& alphabet = data::byte_alphabet();
  for (size_t byte = 0; byte < tokens.size(); ++byte) pieces[static_cast<size_t>(tokens[byte])].text = alphabet[byte];
}

/// Text -> token.
Json vocabulary(const std::vector<Piece>& pieces) {
  std::map<std::string, size_t> seen;
  Json::object_t entries;  // keeps the order of the tokens without a search for each
  for (size_t token = 0; token < pieces.size(); ++token) {
    const auto [twin, is_new] = seen.emplace(pieces[token].text, token);
    if (!is_new) {
      parallel::user_error("tokens ", twin->second, " and ", token, " of the tokenizer are both spelt '",
                           pieces[token].text, "': such a vocabulary cannot be exported");
    }
    static_cast<std::vector<Json::object_t::value_type>&>(entries).emplace_back(pieces[token].text, token);
  }
  return entries;
}

Json added_tokens(const std::vector<Piece>& pieces) {
  Json added = Json::array();
  for (size_t token = 0; token < pieces.size(); ++token) {
    if (pieces[token].kind != PieceKind::kControl && pieces[token].kind != PieceKind::kUnknown) continue;
    added.push_back({{"id", token},
                     {"content", pieces[token].text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return added;
}

Json bpe_model(const std::vector<Piece>& pieces, const std::vector<Merge>& merges, const std::string& kind) {
  Json pairs = Json::array();
  for (const auto& [left, right] : merges) pairs.push_back({left, right});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", kind == "sentencepiece"},
          {"ignore_merges", false},
          {"vocab", vocabulary(pieces)},
          {"merges", std::move(pairs)}};
}

Json byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
}

}  // namespace

std::vector<Merge> derive_merges(const std::vector<Piece>& pieces) {
  std::map<std::string_view, size_t> normal;
  for (size_t token = 0; token < pieces.size(); ++token) {
    if (pieces[token].kind == PieceKind::kNormal) normal.emplace(pieces[token].text, token);
  }
  std::vector<std::tuple<double, size_t, size_t>> order;  // -score, token of the result, bytes of the right part
  for (const auto& [text, token] : normal) {
    const std::vector<size_t> starts = character_starts(text);
    bool expressible = false;
    bool reachable = false;
    for (size_t split = 1; split + 1 < starts.size(); ++split) {
      const size_t at = starts[split];
      const bool has_left = normal.contains(text.substr(0, at));
      const bool has_right = normal.contains(text.substr(at));
      // SentencePiece starts from single characters whether they are pieces or not.
      reachable = reachable || ((has_left || split == 1) && (has_right || split + 2 == starts.size()));
      if (!has_left || !has_right) continue;
      expressible = true;
      order.emplace_back(-pieces[token].score, token, text.size() - at);
    }
    if (reachable && !expressible) {
      parallel::user_error("piece '", text, "' (token ", token, ") of the tokenizer is made of characters that are ",
                           "not pieces themselves: such a vocabulary cannot be exported");
    }
  }
  std::sort(order.begin(), order.end());
  std::vector<Merge> merges;
  for (const auto& [score, token, right] : order) {
    const std::string& text = pieces[token].text;
    merges.emplace_back(text.substr(0, text.size() - right), text.substr(text.size() - right));
  }
  return merges;
}

std::map<std::string, std::string> tokenizer_files(const data::Tokenizer& tokenizer, int64_t sequence_length,
                                                   const std::string& chat_template) {
  std::map<std::string, std::string> files = tokenizer.files();
  if (files.empty()) {
    return {{"tokenizer.json", tokenizer_json(tokenizer)},
            {"tokenizer_config.json", tokenizer_config_json(tokenizer, sequence_length, chat_template)}};
  }
  // The model's, not its tokenizer's: the export writes its own.
  files.erase("config.json");
  files.erase("generation_config.json");
  return files;
}

std::string tokenizer_json(const data::Tokenizer& tokenizer) {
  const std::string kind = tokenizer.kind();
  if (kind != "sentencepiece" && kind != "byte") {
    parallel::user_error("a tokenizer of kind '", kind, "' cannot be exported; legal: byte, sentencepiece");
  }
  std::vector<Piece> pieces = all_pieces(tokenizer);
  const std::array<int64_t, 256> tokens = byte_tokens(pieces);
  spell_unknown(pieces);
  Json file = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  file["added_tokens"] = added_tokens(pieces);
  file["normalizer"] = nullptr;
  file["post_processor"] = nullptr;
  if (kind == "sentencepiece") {
    spell_spaces(pieces);
    file["pre_tokenizer"] = nullptr;
    file["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
    file["model"] = bpe_model(pieces, derive_merges(pieces), kind);
  } else {
    spell_byte_level(pieces, tokens);
    file["pre_tokenizer"] = byte_level();
    file["decoder"] = byte_level();
    file["model"] = bpe_model(pieces, {}, kind);
  }
  return file.dump(1) + "\n";
}

std::string tokenizer_config_json(const data::Tokenizer& tokenizer, int64_t sequence_length,
                                  const std::string& chat_template) {
  const Piece end = tokenizer.piece(tokenizer.end_of_text());
  if (end.kind != PieceKind::kControl) {
    parallel::user_error("the tokenizer's end of text, token ", tokenizer.end_of_text(), " '", end.text,
                         "', is not a control piece: such a vocabulary cannot be exported");
  }
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", false},
                 {"add_eos_token", false},
                 {"clean_up_tokenization_spaces", false},
                 {"eos_token", end.text},
                 {"pad_token", end.text},   // as in generation_config.json; masked, so any token would do
                 {"padding_side", "left"},  // a text is continued at its right end
                 {"model_input_names", {"input_ids", "attention_mask"}},
                 {"model_max_length", sequence_length}};
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  return config.dump(2) + "\n";
}

}  // namespace launch::interchange
