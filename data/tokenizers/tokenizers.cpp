#include <utility>

#include "data/tokenizers/added_tokens.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/hugging_face_tokenizer.h"
#include "data/tokenizers/sentencepiece_model.h"
#include "data/tokenizers/sentencepiece_tokenizer.h"
#include "data/tokenizers/tokenizer.h"

namespace data {

int64_t Tokenizer::control(std::string_view name) const {
  std::vector<std::string> known;
  for (int64_t token = 0; token < vocabulary_size(); ++token) {
    Piece found = piece(token);
    if (found.kind != PieceKind::kControl) continue;
    if (found.text == name) return token;
    known.push_back(std::move(found.text));
  }
  parallel::user_error("the tokenizer has no control piece '", name, "'; known: ", parallel::list_names(known));
}

int64_t Tokenizer::text_bytes(int64_t token) const {
  const PieceKind piece_kind = piece(token).kind;
  if (piece_kind == PieceKind::kByte) return 1;
  if (piece_kind != PieceKind::kNormal) return 0;
  return static_cast<int64_t>(decode({static_cast<int32_t>(token)}).size());
}

std::vector<int32_t> Tokenizer::encode_parsed(std::string_view text, const ControlPlaces* places) const {
  std::call_once(controls_made_, [this] {
    std::vector<AddedToken> controls;
    for (int64_t token = 0; token < vocabulary_size(); ++token) {
      Piece found = piece(token);
      if (found.kind != PieceKind::kControl || found.text.empty()) continue;
      controls.push_back({.content = std::move(found.text), .token = static_cast<int32_t>(token), .special = true});
    }
    controls_ = std::make_shared<const AddedTokens>(std::move(controls));
  });
  return encode_between(*controls_, text, places, [this](std::string_view part) { return encode_text(part); });
}

std::vector<int32_t> token_bytes(const Tokenizer& tokenizer) {
  std::vector<int32_t> bytes;
  bytes.reserve(static_cast<size_t>(tokenizer.vocabulary_size()));
  for (int64_t token = 0; token < tokenizer.vocabulary_size(); ++token) {
    bytes.push_back(static_cast<int32_t>(tokenizer.text_bytes(token)));
  }
  return bytes;
}

TokenizerTable builtin_tokenizers() {
  const auto make_bytes = [](const std::vector<std::string_view>&, const TokenizerTraining& training) {
    return make_byte_tokenizer(training.controls);
  };
  return {"tokenizer",
          {{"byte", {.load = load_byte_tokenizer, .make = make_bytes}},
           {"sentencepiece", {.load = load_sentencepiece, .make = train_sentencepiece, .learns = true}},
           {"hugging_face", {.load = load_hugging_face}},
           {"sentencepiece_model", {.load = load_sentencepiece_model}}}};
}

}  // namespace data
