#include "data/tokenizers/byte_tokenizer.h"

#include <utility>

#include "data/tokenizers/control_pieces.h"

namespace data {

void ByteTokenizer::require_token(int64_t token) const {
  const auto size = 257 + static_cast<int64_t>(controls_.size());
  if (token >= 0 && token < size) return;
  parallel::user_error("token ", token, " is outside the byte vocabulary [0, ", size, ")");
}

std::vector<int32_t> ByteTokenizer::encode_text(std::string_view text) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
  return tokens;
}

std::string ByteTokenizer::decode(const std::vector<int32_t>& tokens) const {
  std::string text;
  text.reserve(tokens.size());
  for (const int32_t token : tokens) {
    require_token(token);
    if (token < 256) text.push_back(static_cast<char>(token));
  }
  return text;
}

Piece ByteTokenizer::piece(int64_t token) const {
  require_token(token);
  if (token == 256) return {"</s>", 0, PieceKind::kControl};
  if (token > 256) return {controls_[static_cast<size_t>(token - 257)], 0, PieceKind::kControl};
  const char* digits = "0123456789ABCDEF";
  return {parallel::concat("<0x", digits[token >> 4], digits[token & 15], ">"), 0, PieceKind::kByte};
}

std::string ByteTokenizer::serialized() const {
  std::string names;
  for (const std::string& name : controls_) names += name + '\n';
  return names;
}

std::shared_ptr<const Tokenizer> make_byte_tokenizer(std::vector<std::string> controls) {
  require_control_names(controls);
  return std::make_shared<ByteTokenizer>(std::move(controls));
}

std::shared_ptr<const Tokenizer> load_byte_tokenizer(const std::string& serialized) {
  std::vector<std::string> controls;
  for (size_t begin = 0; begin < serialized.size();) {
    const size_t end = serialized.find('\n', begin);
    if (end == std::string::npos) {
      parallel::user_error("a byte tokenizer stores control pieces, each followed by a newline, but ",
                           serialized.size() - begin, " bytes follow the last one");
    }
    controls.push_back(serialized.substr(begin, end - begin));
    begin = end + 1;
  }
  return make_byte_tokenizer(std::move(controls));
}

}  // namespace data
