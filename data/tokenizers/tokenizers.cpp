#include <utility>

#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/sentencepiece_tokenizer.h"
#include "data/tokenizers/tokenizer.h"
#include "data/tokenizers/utf8.h"

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

std::vector<int32_t> token_bytes(const Tokenizer& tokenizer) {
  std::vector<int32_t> bytes;
  bytes.reserve(static_cast<size_t>(tokenizer.vocabulary_size()));
  for (int64_t token = 0; token < tokenizer.vocabulary_size(); ++token) {
    const bool is_text = tokenizer.piece(token).kind == PieceKind::kNormal;
    const bool is_byte = tokenizer.piece(token).kind == PieceKind::kByte;
    bytes.push_back(is_text ? static_cast<int32_t>(tokenizer.decode({static_cast<int32_t>(token)}).size()) : is_byte);
  }
  return bytes;
}

TokenizerTable builtin_tokenizers() {
  const auto make_bytes = [](const std::vector<std::string_view>&, const TokenizerTraining& training) {
    return make_byte_tokenizer(training.controls);
  };
  return {"tokenizer",
          {{"byte", {.load = load_byte_tokenizer, .make = make_bytes}},
           {"sentencepiece", {.load = load_sentencepiece, .make = train_sentencepiece, .learns = true}}}};
}

}  // namespace data
