// defines: ByteTokenizer, load_byte_tokenizer
#pragma once
#include "data/tokenizers/tokenizer.h"

namespace data {

/// Token b stands for byte b (pieces "<0x00>" to "<0xFF>"), token 256 is "</s>". Any bytes at all come back as they
/// were.
class ByteTokenizer : public Tokenizer {
 public:
  std::string kind() const override { return "byte"; }
  int64_t vocabulary_size() const override { return 257; }
  int64_t end_of_text() const override { return 256; }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(const std::vector<int32_t>& tokens) const override;
  Piece piece(int64_t token) const override;
  std::string serialized() const override { return ""; }
};

/// `serialized` must be empty: there is nothing to store.
std::shared_ptr<const Tokenizer> load_byte_tokenizer(const std::string& serialized);

}  // namespace data
