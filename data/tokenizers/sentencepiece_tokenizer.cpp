#include "data/tokenizers/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>

#include "data/subwords/word_cache.h"
#include "data/text/utf8.h"
#include "data/tokenizers/marked_spaces.h"
#include "data/tokenizers/sentencepiece_pieces.h"

namespace data {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

class SentencePieceTokenizer : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const std::string& serialized);

  std::string kind() const override { return "sentencepiece"; }
  int64_t vocabulary_size() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t end_of_text() const override { return end_of_text_; }
  std::string decode(const std::vector<int32_t>& tokens) const override;
  Piece piece(int64_t token) const override { return at(token); }
  std::string serialized() const override { return serialized_; }
  bool lines_apart() const override { return true; }

 private:
  std::vector<int32_t> encode_text(std::string_view text) const override;
  void read_pieces();
  void check_lossless() const;
  const Piece& at(int64_t token) const;
  void encode_line(std::string_view line, std::vector<int32_t>& tokens) const;
  void append_bytes(std::string_view bytes, std::vector<int32_t>& tokens) const;
  void append_words(std::string_view text, std::vector<int32_t>& tokens) const;
  std::vector<int32_t> process(std::string_view text) const;

  std::string serialized_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<Piece> pieces_;
  std::array<int32_t, 256> token_of_byte_;
  int64_t end_of_text_ = -1;
  bool cuts_at_words_ = true;  // no piece has a space after another character, so words may be encoded one by one
  mutable WordCache words_;
};

SentencePieceTokenizer::SentencePieceTokenizer(const std::string& serialized) : serialized_(serialized) {
  token_of_byte_.fill(-1);
  if (const auto status = processor_.LoadFromSerializedProto(serialized_); !status.ok()) {
    parallel::user_error("not a SentencePiece model: ", status.ToString());
  }
  read_pieces();
  end_of_text_ = processor_.eos_id();
  check_lossless();
}

void SentencePieceTokenizer::read_pieces() {
  pieces_ = sentencepiece_pieces(processor_);
  for (size_t id = 0; id < pieces_.size(); ++id) {
    const Piece& piece = pieces_[id];
    if (piece.kind == PieceKind::kNormal && has_inner_space(piece.text)) cuts_at_words_ = false;
    if (piece.kind != PieceKind::kByte) continue;
    token_of_byte_[std::stoul(piece.text.substr(3, 2), nullptr, 16)] =
        static_cast<int32_t>(id);  // "<0xHH>", checked by the library
  }
}

void SentencePieceTokenizer::check_lossless() const {
  if (end_of_text_ < 0) parallel::user_error("the SentencePiece model has no end-of-text piece");
  for (const int32_t token : token_of_byte_) {
    if (token < 0) parallel::user_error("the SentencePiece model has no byte pieces: it would lose rare characters");
  }
  for (const Piece& piece : pieces_) {
    if (piece.kind == PieceKind::kNormal && piece.text.find('\n') != std::string::npos) {
      parallel::user_error("the SentencePiece model has a piece with a newline inside; moetrain's never do");
    }
  }
  // Full-width letters and ligatures are the first victims of a normaliser, spaces at the ends of a dummy prefix.
  for (const std::string probe : {"a", " a", "  a \t  b \n\n c ", "\xEF\xBC\xA1\xEF\xAC\x81 e\xCC\x81"}) {
    if (decode(encode(probe)) == probe) continue;
    parallel::user_error("the SentencePiece model normalises text; moetrain needs one that gives back what it read");
  }
}

const Piece& SentencePieceTokenizer::at(int64_t token) const {
  if (token < 0 || token >= vocabulary_size()) {
    parallel::user_error("token ", token, " is outside the vocabulary [0, ", vocabulary_size(), ")");
  }
  return pieces_[static_cast<size_t>(token)];
}

std::vector<int32_t> SentencePieceTokenizer::encode_text(std::string_view text) const {
  if (valid_utf8_prefix(text) != text.size())
    parallel::user_error("the text is not UTF-8: ", describe_utf8_fault(text));
  std::vector<int32_t> tokens;
  tokens.reserve(text.size() / 3);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    encode_line(text.substr(begin, end - begin), tokens);
    if (end < text.size()) append_bytes("\n", tokens);
    begin = end + 1;
  }
  return tokens;
}

void SentencePieceTokenizer::encode_line(std::string_view line, std::vector<int32_t>& tokens) const {
  for (size_t begin = 0; begin < line.size();) {
    const size_t mark = std::min(line.find(kSpaceMark, begin), line.size());
    append_words(line.substr(begin, mark - begin), tokens);
    if (mark < line.size()) append_bytes(kSpaceMark, tokens);
    begin = mark + kSpaceMark.size();
  }
}

void SentencePieceTokenizer::append_bytes(std::string_view bytes, std::vector<int32_t>& tokens) const {
  for (const char byte : bytes) tokens.push_back(token_of_byte_[static_cast<uint8_t>(byte)]);
}

void SentencePieceTokenizer::append_words(std::string_view text, std::vector<int32_t>& tokens) const {
  while (!text.empty()) {
    size_t end = text.size();
    if (cuts_at_words_) {
      const size_t word = std::min(text.find_first_not_of(' '), text.size());
      end = std::min(text.find(' ', word), text.size());
    }
    words_.append(text.substr(0, end), tokens, [this](std::string_view word) { return process(word); });
    text.remove_prefix(end);
  }
}

std::vector<int32_t> SentencePieceTokenizer::process(std::string_view text) const {
  std::vector<int> ids;
  const auto status = processor_.Encode(text, &ids);
  parallel::check_internal(status.ok(), "SentencePiece cannot encode: ", status.ToString());
  return {ids.begin(), ids.end()};
}

void append_with_spaces(std::string_view piece, std::string& text) {
  for (size_t begin = 0; begin < piece.size();) {
    const size_t mark = std::min(piece.find(kSpaceMark, begin), piece.size());
    text.append(piece.substr(begin, mark - begin));
    if (mark < piece.size()) text.push_back(' ');
    begin = mark + kSpaceMark.size();
  }
}

/// The pending byte pieces end here: they become text, or replacement characters where they are none.
void flush_bytes(std::string& pending, std::string& text) {
  if (valid_utf8_prefix(pending) == pending.size()) {
    text.append(pending);
  } else {
    for (size_t i = 0; i < pending.size(); ++i) text.append(kReplacement);
  }
  pending.clear();
}

std::string SentencePieceTokenizer::decode(const std::vector<int32_t>& tokens) const {
  std::string text;
  std::string pending;
  for (const int32_t token : tokens) {
    const Piece& piece = at(token);
    if (piece.kind == PieceKind::kByte) {
      pending.push_back(static_cast<char>(std::stoul(piece.text.substr(3, 2), nullptr, 16)));
      continue;
    }
    flush_bytes(pending, text);
    if (piece.kind == PieceKind::kNormal) append_with_spaces(piece.text, text);
  }
  flush_bytes(pending, text);
  return text;
}

}  // namespace

std::shared_ptr<const Tokenizer> load_sentencepiece(const std::string& serialized) {
  return std::make_shared<SentencePieceTokenizer>(serialized);
}

}  // namespace data
