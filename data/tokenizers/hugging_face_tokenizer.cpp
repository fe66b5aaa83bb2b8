#include "data/tokenizers/hugging_face_tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "data/shaping/byte_alphabet.h"
#include "data/shaping/decoders.h"
#include "data/shaping/normalizers.h"
#include "data/shaping/pre_tokenizers.h"
#include "data/shaping/text_frame.h"
#include "data/subwords/subword_model.h"
#include "data/text/utf8.h"
#include "data/tokenizers/added_tokens.h"
#include "data/tokenizers/marked_spaces.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

constexpr size_t kMostAddedTokens = size_t{1} << 20;

/// The file's added tokens, whose numbers have to be what `tokenizers` gives them: those that the model has for the
/// same piece, else one after the other.
std::vector<AddedToken> read_added_tokens(const JsonValue& value, const SubwordModel& model) {
  std::vector<AddedToken> tokens;
  if (value.is_null()) return tokens;
  std::set<std::string> seen;
  int64_t next = model.piece_count();
  for (const JsonValue& entry : value.items(kMostAddedTokens)) {
    AddedToken token{.content = entry["content"].text(),
                     .single_word = entry["single_word"].flag(false),
                     .lstrip = entry["lstrip"].flag(false),
                     .rstrip = entry["rstrip"].flag(false),
                     .normalized = entry["normalized"].flag(true),
                     .special = entry["special"].flag(false)};
    if (token.content.empty()) continue;
    const std::string shown = "'" + parallel::printable(token.content) + "'";
    if (!seen.insert(token.content).second) entry.fail("there is an added token " + shown + " already");
    const auto of_model = model.find(token.content);
    const int64_t given = entry["id"].integer(0, (int64_t{1} << 31) - 1);
    const int64_t expected = of_model ? *of_model : next++;
    if (given != expected) {
      entry["id"].fail(parallel::concat(given, " for ", shown, "; legal: ", expected,
                                        of_model ? ", its token in the model's vocabulary"
                                                 : ", for added tokens follow the vocabulary without a gap"));
    }
    token.token = static_cast<int32_t>(given);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// The spellings of control pieces, which the model must know before it is made.
std::set<std::string> control_spellings(const JsonValue& added, const std::optional<std::string>& end) {
  std::set<std::string> spellings;
  if (!added.is_null()) {
    for (const JsonValue& entry : added.items(kMostAddedTokens)) {
      if (entry["special"].flag(false)) spellings.insert(entry["content"].text());
    }
  }
  if (end) spellings.insert(*end);
  return spellings;
}

/// Whether a decoder is of this type, or has such a step.
bool has_step(const nlohmann::json& decoder, const std::string& type) {
  if (!decoder.is_object()) return false;
  if (decoder.value("type", nlohmann::json()) == type) return true;
  const nlohmann::json steps = decoder.value("decoders", nlohmann::json::array());
  return std::any_of(steps.begin(), steps.end(), [&](const nlohmann::json& step) { return has_step(step, type); });
}

class HuggingFaceTokenizer : public Tokenizer {
 public:
  HuggingFaceTokenizer(TokenizerFiles files, const std::string& folder);

  std::string kind() const override { return "hugging_face"; }
  int64_t vocabulary_size() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t end_of_text() const override { return end_of_text_; }
  std::string decode(const std::vector<int32_t>& tokens) const override;
  Piece piece(int64_t token) const override { return pieces_[checked(token)]; }
  std::string serialized() const override { return serialize_files(files_); }
  bool lossless() const override { return false; }
  std::vector<int32_t> framed(std::vector<int32_t> tokens) const override;
  int64_t text_bytes(int64_t token) const override;
  std::map<std::string, std::string> files() const override { return files_; }

 private:
  std::vector<int32_t> encode_text(std::string_view text) const override {
    return run(text, Specials::kAsText, nullptr);
  }
  std::vector<int32_t> encode_parsed(std::string_view text, const ControlPlaces* places) const override {
    return run(text, Specials::kParsed, places);
  }
  std::vector<int32_t> run(std::string_view text, Specials specials, const ControlPlaces* places) const;
  void append_normalized(Pieces pieces, Specials specials, std::vector<int32_t>& tokens) const;
  void append_modelled(Pieces pieces, std::vector<int32_t>& tokens) const;
  size_t checked(int64_t token) const;
  void name_pieces();
  int64_t find_end_of_text(const std::optional<std::string>& name, const std::string& folder) const;

  TokenizerFiles files_;
  std::unique_ptr<const Normalizer> normalizer_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::unique_ptr<const SubwordModel> model_;
  std::unique_ptr<const Decoder> decoder_;
  std::unique_ptr<const AddedTokens> added_;
  TextFrame frame_;
  std::vector<Piece> pieces_;
  std::map<int32_t, std::string> written_;  // what the decoder is given for added tokens that the normalizer rewrites
  int64_t end_of_text_ = 0;
  int32_t unknown_control_ = -1;  // an unknown piece that is marked special decodes to nothing
  bool byte_level_ = false;
};

HuggingFaceTokenizer::HuggingFaceTokenizer(TokenizerFiles files, const std::string& folder) : files_(std::move(files)) {
  const std::string place = folder + kTokenizerJson;
  const auto found = files_.find(kTokenizerJson);
  if (found == files_.end()) parallel::user_error(place, " is missing");
  const nlohmann::json json = parse_json(found->second, place);
  const JsonValue file(json, place);
  normalizer_ = make_normalizer(file["normalizer"]);
  pre_tokenizer_ = make_pre_tokenizer(file["pre_tokenizer"]);
  decoder_ = make_decoder(file["decoder"]);
  byte_level_ = has_step(file["decoder"].json(), "ByteLevel");
  const std::optional<std::string> end = end_of_text_name(files_, folder);
  model_ = make_subword_model(file["model"], control_spellings(file["added_tokens"], end));
  std::vector<AddedToken> added = read_added_tokens(file["added_tokens"], *model_);
  for (AddedToken& token : added) token.special = token.special || token.content == end;
  added_ = std::make_unique<const AddedTokens>(std::move(added), normalizer_.get());
  name_pieces();
  end_of_text_ = find_end_of_text(end, folder);
  pieces_[static_cast<size_t>(end_of_text_)].kind = PieceKind::kControl;
  frame_ = read_text_frame(file["post_processor"], vocabulary_size());
}

void HuggingFaceTokenizer::name_pieces() {
  for (const std::string& text : model_->pieces()) {
    const auto token = static_cast<int32_t>(pieces_.size());
    pieces_.push_back({text, text.empty() ? 0 : model_->score(token), PieceKind::kNormal});
    if (model_->falls_back_to_bytes() && byte_of_piece(text)) pieces_.back().kind = PieceKind::kByte;
    if (text.empty()) pieces_.back() = {parallel::concat("<unused:", token, ">"), 0, PieceKind::kControl};
  }
  if (model_->unknown()) pieces_[static_cast<size_t>(*model_->unknown())].kind = PieceKind::kUnknown;
  for (size_t i = 0; i < added_->tokens().size(); ++i) {
    const AddedToken& token = added_->tokens()[i];
    const auto index = static_cast<size_t>(token.token);
    if (index >= pieces_.size()) pieces_.resize(index + 1);
    Piece& piece = pieces_[index];
    piece.text = token.content;
    if (piece.kind == PieceKind::kUnknown && token.special) unknown_control_ = token.token;
    if (piece.kind != PieceKind::kUnknown) piece.kind = token.special ? PieceKind::kControl : PieceKind::kNormal;
    if (added_->written(i) != token.content) written_[token.token] = added_->written(i);
  }
}

int64_t HuggingFaceTokenizer::find_end_of_text(const std::optional<std::string>& name,
                                               const std::string& folder) const {
  if (name) {
    for (size_t token = 0; token < pieces_.size(); ++token) {
      if (pieces_[token].text == *name) return static_cast<int64_t>(token);
    }
    parallel::user_error(folder, kTokenizerJson, " has no piece '", parallel::printable(*name),
                         "', which is the eos_token of tokenizer_config.json");
  }
  const std::optional<int64_t> number = end_of_text_number(files_, folder);
  if (!number) {
    parallel::user_error(folder, kTokenizerJson, ": nothing says which token ends a text; legal: eos_token in ",
                         "tokenizer_config.json or special_tokens_map.json, or eos_token_id in generation_config.json ",
                         "or config.json, beside it");
  }
  if (*number >= vocabulary_size()) {
    parallel::user_error(folder, kTokenizerJson, " has ", vocabulary_size(),
                         " tokens, but the eos_token_id beside it is ", *number);
  }
  return *number;
}

size_t HuggingFaceTokenizer::checked(int64_t token) const {
  if (token < 0 || token >= vocabulary_size()) {
    parallel::user_error("token ", token, " is outside the vocabulary [0, ", vocabulary_size(), ")");
  }
  return static_cast<size_t>(token);
}

std::vector<int32_t> HuggingFaceTokenizer::run(std::string_view text, Specials specials,
                                               const ControlPlaces* places) const {
  if (valid_utf8_prefix(text) != text.size()) {
    parallel::user_error("the text is not UTF-8: ", describe_utf8_fault(text));
  }
  std::vector<int32_t> tokens;
  tokens.reserve(text.size() / 3);
  // A control piece that the normalizer rewrites has no place of its own any more: none is parsed beside given places.
  const Specials in_normalized = places != nullptr ? Specials::kAsText : specials;
  for (const TextCut& cut : added_->cut_raw(text, specials, places)) {
    if (cut.token >= 0) {
      tokens.push_back(cut.token);
      continue;
    }
    Pieces pieces{std::string(text.substr(cut.begin, cut.end - cut.begin)), {}};
    pieces.spans = {{0, pieces.text.size(), cut.begin == 0 ? code_point_bytes(pieces.text, 0) : 0}};
    append_normalized(std::move(pieces), in_normalized, tokens);
  }
  return tokens;
}

void HuggingFaceTokenizer::append_normalized(Pieces pieces, Specials specials, std::vector<int32_t>& tokens) const {
  normalizer_->apply(pieces);
  if (pieces.spans.empty()) return;
  const Span whole = pieces.spans.front();
  const std::vector<TextCut> cuts = added_->cut_normalized(pieces.text, specials);
  if (cuts.size() == 1 && cuts.front().token < 0) return append_modelled(std::move(pieces), tokens);
  for (const TextCut& cut : cuts) {
    if (cut.token >= 0) {
      tokens.push_back(cut.token);
      continue;
    }
    const size_t opening = whole.opening > cut.begin ? whole.opening - cut.begin : 0;
    append_modelled({pieces.text.substr(cut.begin, cut.end - cut.begin), {{0, cut.end - cut.begin, opening}}}, tokens);
  }
}

void HuggingFaceTokenizer::append_modelled(Pieces pieces, std::vector<int32_t>& tokens) const {
  pre_tokenizer_->apply(pieces);
  for (const Span& span : pieces.spans) model_->append(pieces.view(span), tokens);
}

std::string HuggingFaceTokenizer::decode(const std::vector<int32_t>& tokens) const {
  std::vector<std::string> texts;
  texts.reserve(tokens.size());
  for (const int32_t token : tokens) {
    const Piece& piece = pieces_[checked(token)];
    if (piece.kind == PieceKind::kControl || token == unknown_control_) continue;
    const auto written = written_.find(token);
    texts.push_back(written == written_.end() ? piece.text : written->second);
  }
  if (texts.empty()) return {};
  decoder_->apply(texts);
  std::string text;
  for (const std::string& part : texts) text += part;
  return text;
}

std::vector<int32_t> HuggingFaceTokenizer::framed(std::vector<int32_t> tokens) const {
  tokens.insert(tokens.begin(), frame_.before.begin(), frame_.before.end());
  tokens.insert(tokens.end(), frame_.after.begin(), frame_.after.end());
  return tokens;
}

int64_t HuggingFaceTokenizer::text_bytes(int64_t token) const {
  const Piece& piece = pieces_[checked(token)];
  if (piece.kind == PieceKind::kByte) return 1;
  if (piece.kind != PieceKind::kNormal) return 0;
  if (byte_level_) {
    if (const auto bytes = from_byte_alphabet(piece.text)) return static_cast<int64_t>(bytes->size());
  }
  return bytes_with_spaces(piece.text);
}

}  // namespace

std::shared_ptr<const Tokenizer> make_hugging_face(TokenizerFiles files, const std::string& folder) {
  return std::make_shared<HuggingFaceTokenizer>(std::move(files), folder);
}

std::shared_ptr<const Tokenizer> load_hugging_face(const std::string& serialized) {
  return make_hugging_face(parse_files(serialized), "");
}

}  // namespace data
