// How text becomes tokens and back.
// defines: Tokenizer, PieceKind, Piece, Specials, ControlPlaces, token_bytes, TokenizerTraining, TokenizerKind,
// TokenizerTable, builtin_tokenizers
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
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

/// What becomes of a control piece's name that stands in a text.
enum class Specials {
  kAsText,  // it is text like any other: what a document says must not end it
  kParsed,  // it becomes that control piece: for text that a chat template wrote
};

/// Where in a text control pieces begin [bytes], ascending.
using ControlPlaces = std::vector<size_t>;

class AddedTokens;

/// moetrain's own kinds are lossless: decode(encode(text)) == text for every valid UTF-8 text. A model's own tokenizer
/// may normalise, put a space in front, or have no piece for a character; lossless() tells. With Specials::kAsText a
/// control piece never comes out of encode, whatever the text spells and whatever the tokenizer. Immutable, so any
/// number of threads may use one.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string kind() const = 0;  // its row in builtin_tokenizers()
  virtual int64_t vocabulary_size() const = 0;
  virtual int64_t end_of_text() const = 0;  // written after every document, and before the first
  /// UserError for a text that is not UTF-8, where the kind needs that.
  std::vector<int32_t> encode(std::string_view text, Specials specials = Specials::kAsText) const {
    return specials == Specials::kAsText ? encode_text(text) : encode_parsed(text, nullptr);
  }
  /// Of a text whose control pieces are those that begin at `places` (bytes, ascending), and no others that it spells:
  /// what a chat template wrote around messages that may spell anything.
  std::vector<int32_t> encode(std::string_view text, const ControlPlaces& places) const {
    return encode_parsed(text, &places);
  }
  /// Control pieces decode to nothing. A token outside the vocabulary is a UserError.
  virtual std::string decode(const std::vector<int32_t>& tokens) const = 0;
  virtual Piece piece(int64_t token) const = 0;  // UserError outside [0, vocabulary_size)
  virtual std::string serialized() const = 0;    // what its maker reads back; kept inside token files

  virtual bool lossless() const { return true; }
  /// Whether the tokens of a text are those of its lines (each with its end), one after another.
  virtual bool lines_apart() const { return false; }
  /// The tokens with what the model's own tokenizer puts around a text (a beginning, an end) where it is asked to;
  /// moetrain's own kinds put nothing.
  virtual std::vector<int32_t> framed(std::vector<int32_t> tokens) const { return tokens; }
  /// Bytes of text that a token stands for; 0 for control pieces. UserError outside of the vocabulary.
  virtual int64_t text_bytes(int64_t token) const;
  /// A model's own files by name, as they came; none for moetrain's own kinds.
  virtual std::map<std::string, std::string> files() const { return {}; }

  /// The token of a control piece such as "<2de>"; an unknown name is a UserError that lists the known ones. Walks the
  /// vocabulary: ask once, not for every sentence.
  int64_t control(std::string_view name) const;

 protected:
  virtual std::vector<int32_t> encode_text(std::string_view text) const = 0;
  /// Control pieces are parsed at `places`, or, where that is null, anywhere.
  virtual std::vector<int32_t> encode_parsed(std::string_view text, const ControlPlaces* places) const;

 private:
  mutable std::once_flag controls_made_;
  mutable std::shared_ptr<const AddedTokens> controls_;  // of encode_parsed, made once
};

/// text_bytes of all tokens, [vocabulary_size]. Where the tokenizer is lossless they add up to the text's own size: the
/// denominator of bits per byte over any range of tokens. Where it is not, they add up to the size of the text as the
/// tokenizer normalised it (a space in front counts, characters that became the unknown piece do not).
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
  /// (require_control_names), and for what it cannot learn from. Null: a model's own, which is read and never made.
  std::shared_ptr<const Tokenizer> (*make)(const std::vector<std::string_view>& texts,
                                           const TokenizerTraining& training) = nullptr;
  bool learns = false;  // its pieces, from the texts
};

/// By kind: what token files and run folders name, and `prepare --tokenizer` takes.
using TokenizerTable = parallel::NameTable<TokenizerKind>;

/// "byte", "sentencepiece", and models' own: "hugging_face", "sentencepiece_model". A program outside the tree adds its
/// own rows.
TokenizerTable builtin_tokenizers();

}  // namespace data
