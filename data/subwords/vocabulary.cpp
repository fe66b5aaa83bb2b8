#include "data/subwords/vocabulary.h"

#include "data/shaping/byte_alphabet.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

/// A vocabulary may leave tokens out, but not so many that a file of a few bytes could ask for all memory.
int64_t largest_token(size_t pieces) { return static_cast<int64_t>(2 * pieces + 65536); }

}  // namespace

Vocabulary Vocabulary::from_object(const JsonValue& value) {
  if (!value.json().is_object()) value.fail("must be an object of pieces and their tokens");
  const size_t count = value.json().size();
  if (count > kMostPieces) value.fail(parallel::concat("has ", count, " pieces; legal: at most ", kMostPieces));
  Vocabulary vocabulary;
  std::vector<bool> taken;
  for (const auto& [piece, token] : value.json().items()) {
    const std::string place = value.place() + "[\"" + parallel::printable(piece.substr(0, 100)) + "\"]";
    const auto index = static_cast<size_t>(JsonValue(token, place).integer(0, largest_token(count)));
    if (index >= vocabulary.pieces_.size()) {
      vocabulary.pieces_.resize(index + 1);
      taken.resize(index + 1);
    }
    if (taken[index]) {
      parallel::user_error(place, ": token ", index, " is that of '", parallel::printable(vocabulary.pieces_[index]),
                           "' too; legal: a token for each piece");
    }
    taken[index] = true;
    vocabulary.pieces_[index] = piece;
    vocabulary.tokens_.emplace(piece, static_cast<int32_t>(index));
  }
  vocabulary.index();
  return vocabulary;
}

Vocabulary::Vocabulary(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {
  for (size_t token = 0; token < pieces_.size(); ++token) tokens_[pieces_[token]] = static_cast<int32_t>(token);
  index();
}

void Vocabulary::index() {
  for (size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    byte_tokens_[byte] = find(byte_piece(static_cast<uint8_t>(byte))).value_or(-1);
  }
}

bool Vocabulary::append_bytes(std::string_view text, std::vector<int32_t>& tokens) const {
  for (const char byte : text) {
    if (byte_tokens_[static_cast<uint8_t>(byte)] < 0) return false;
  }
  for (const char byte : text) tokens.push_back(byte_tokens_[static_cast<uint8_t>(byte)]);
  return true;
}

}  // namespace data
