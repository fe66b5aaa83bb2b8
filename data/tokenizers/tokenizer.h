// How text becomes tokens and back.
// defines: Tokenizer, PieceKind, Piece, token_bytes, TokenizerTraining, TokenizerKind, TokenizerTable,
// builtin_tokenizers
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/base/name_table.h"

namespace data {

enum class PieceKind { kNormal, kByte, kControl, kUnknown };

/// One entry of a vocabulary, as an exporter needs it.
struct Piece {
  std::string text;  // as stored: "▁the" (the first character stands for a space), "<0x0A>", "</s>"
  double score = 0;  // higher merges first (byte-pair encoding); 0 where there is none
  PieceKind kind = PieceKind::kNormal;
};

/// Lossless: decode(encode(text)) == text for every valid UTF-8 text. A control piece never comes out of encode,
/// whatever the text spells. Immutable, so any number of threads may use one.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string kind() const = 0;  // its row in builtin_tokenizers()
  virtual int64_t vocabulary_size() const = 0;
  virtual int64_t end_of_text() const = 0;  // written after every document, and before the first
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// Control pieces decode to nothing. A token outside the vocabulary is a UserError.
  virtual std::string decode(const std::vector<int32_t>& tokens) const = 0;
  virtual Piece piece(int64_t token) const = 0;  // UserError outside [0, vocabulary_size)
  virtual std::string serialized() const = 0;    // what its maker reads back; kept inside token files

  /// The token of a control piece such as "<2de>"; an unknown name is a UserError that lists the known ones. Walks the
  /// vocabulary: ask once, not for every sentence.
  int64_t control(std::string_view name) const;
};

/// Bytes of text that each token stands for, [vocabulary_size]; 0 for control pieces. Because encode is lossless they
/// add up to the text's own size: the denominator of bits per byte over any range of tokens.
std::vector<int32_t> token_bytes(const Tokenizer& tokenizer);

/// What a tokenizer is made from.
struct TokenizerTraining {
  int64_t vocabulary_size = 4096;          // pieces, of a kind that learns which
  int64_t sample_bytes = 16ll << 20;       // of text that it learns from, at most about so many
  std::vector<std::string> controls = {};  // control pieces of its own, e.g. language tags
};

struct TokenizerKind {
  /// From `serialized()`.
  std::shared_ptr<const Tokenizer> (*load)(const std::string& serialized) = nullptr;
  /// From `texts` (valid UTF-8); the same texts give the same one. UserError for controls that are not legal
  /// (require_control_names), and for what it cannot learn from.
  std::shared_ptr<const Tokenizer> (*make)(const std::vector<std::string_view>& texts,
                                           const TokenizerTraining& training) = nullptr;
  bool learns = false;  // its pieces, from the texts
};

/// By kind: what token files and run folders name, and `prepare --tokenizer` takes.
using TokenizerTable = parallel::NameTable<TokenizerKind>;

/// "byte", "sentencepiece". A program outside the tree adds its own rows.
TokenizerTable builtin_tokenizers();

}  // namespace data
