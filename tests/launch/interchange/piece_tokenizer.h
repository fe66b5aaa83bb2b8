// A tokenizer that is only its table of pieces: what an exporter sees of one.
// defines: PieceTokenizer, byte_piece_text, byte_tokenizer
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizers/tokenizer.h"

namespace launch::interchange {

class PieceTokenizer : public data::Tokenizer {
 public:
  PieceTokenizer(std::string kind, std::vector<data::Piece> pieces, int64_t end_of_text)
      : kind_(std::move(kind)), pieces_(std::move(pieces)), end_of_text_(end_of_text) {}

  std::string kind() const override { return kind_; }
  int64_t vocabulary_size() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t end_of_text() const override { return end_of_text_; }
  std::string decode(const std::vector<int32_t>&) const override {
    throw std::logic_error("an export decodes nothing");
  }
  data::Piece piece(int64_t token) const override { return pieces_.at(static_cast<size_t>(token)); }
  std::string serialized() const override { return {}; }

 private:
  std::vector<int32_t> encode_text(std::string_view) const override {
    throw std::logic_error("an export encodes nothing");
  }

  std::string kind_;
  std::vector<data::Piece> pieces_;
  int64_t end_of_text_;
};

inline std::string byte_piece_text(int byte) {
  const std::string digits = "0123456789ABCDEF";
  return std::string("<0x") + digits[static_cast<size_t>(byte / 16)] + digits[static_cast<size_t>(byte % 16)] + ">";
}

/// 256 bytes, then `more`; the last piece is the end of text.
inline std::shared_ptr<PieceTokenizer> byte_tokenizer(const std::string& kind, const std::vector<data::Piece>& more) {
  std::vector<data::Piece> pieces;
  for (int byte = 0; byte < 256; ++byte) {
    pieces.push_back({.text = byte_piece_text(byte), .kind = data::PieceKind::kByte});
  }
  pieces.insert(pieces.end(), more.begin(), more.end());
  const auto last = static_cast<int64_t>(pieces.size()) - 1;
  return std::make_shared<PieceTokenizer>(kind, std::move(pieces), last);
}

}  // namespace launch::interchange
