#include "data/tokenizers/byte_tokenizer.h"

namespace data {

std::vector<int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
  return tokens;
}

std::string ByteTokenizer::decode(const std::vector<int32_t>& tokens) const {
  std::string text;
  text.reserve(tokens.size());
  for (const int32_t token : tokens) {
    if (token < 0 || token > 256) parallel::user_error("token ", token, " is outside the byte vocabulary [0, 257)");
    if (token < 256) text.push_back(static_cast<char>(token));
  }
  return text;
}

Piece ByteTokenizer::piece(int64_t token) const {
  if (token < 0 || token > 256) parallel::user_error("token ", token, " is outside the byte vocabulary [0, 257)");
  if (token == 256) return {"</s>", 0, PieceKind::kControl};
  const char* digits = "0123456789ABCDEF";
  return {parallel::concat("<0x", digits[token >> 4], digits[token & 15], ">"), 0, PieceKind::kByte};
}

std::shared_ptr<const Tokenizer> load_byte_tokenizer(const std::string& serialized) {
  if (!serialized.empty()) {
    parallel::user_error("a byte tokenizer stores nothing, but ", serialized.size(), " bytes were found");
  }
  return std::make_shared<ByteTokenizer>();
}

}  // namespace data
