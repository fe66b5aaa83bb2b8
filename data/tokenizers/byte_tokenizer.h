// defines: ByteTokenizer, make_byte_tokenizer, load_byte_tokenizer
#pragma once
#include "data/tokenizers/tokenizer.h"

namespace data {

/// Token b stands for byte b (pieces "<0x00>" to "<0xFF>"), token 256 is "</s>", and control pieces of its own follow.
/// Any bytes at all come back as they were.
class ByteTokenizer : public Tokenizer {
 public:
  /// @pre: require_control_names(controls)
  explicit ByteTokenizer(std::vector<std::string> controls = {}) : controls_(std::move(controls)) {}

  std::string kind() const override { return "byte"; }
  int64_t vocabulary_size() const override { return 257 + static_cast<int64_t>(controls_.size()); }
  int64_t end_of_text() const override { return 256; }
  std::string decode(const std::vector<int32_t>& tokens) const override;
  Piece piece(int64_t token) const override;
  bool lines_apart() const override { return true; }
  std::string serialized() const override;  // the control pieces, each followed by a newline

 private:
  std::vector<int32_t> encode_text(std::string_view text) const override;
  void require_token(int64_t token) const;

  std::vector<std::string> controls_;
};

/// UserError for names that are not legal (require_control_names).
std::shared_ptr<const Tokenizer> make_byte_tokenizer(std::vector<std::string> controls);

/// Reads serialized(); empty where there are no control pieces.
std::shared_ptr<const Tokenizer> load_byte_tokenizer(const std::string& serialized);

}  // namespace data
