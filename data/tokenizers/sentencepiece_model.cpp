#include "data/tokenizers/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <utility>

#include "data/shaping/byte_alphabet.h"
#include "data/shaping/model_proto.h"
#include "data/subwords/word_cache.h"
#include "data/text/json_value.h"
#include "data/text/utf8.h"
#include "data/tokenizers/marked_spaces.h"
#include "data/tokenizers/sentencepiece_pieces.h"
#include "data/tokenizers/sentencepiece_words.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

constexpr int64_t kMostTokensBehind = 65536;  // that files beside the model may add

class SentencePieceModel : public Tokenizer {
 public:
  SentencePieceModel(TokenizerFiles files, const std::string& folder);

  std::string kind() const override { return "sentencepiece_model"; }
  int64_t vocabulary_size() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t end_of_text() const override { return end_of_text_; }
  std::string decode(const std::vector<int32_t>& tokens) const override;
  Piece piece(int64_t token) const override { return pieces_[checked(token)]; }
  std::string serialized() const override { return serialize_files(files_); }
  bool lossless() const override { return false; }
  int64_t text_bytes(int64_t token) const override;
  std::map<std::string, std::string> files() const override { return files_; }

 private:
  std::vector<int32_t> encode_text(std::string_view text) const override;
  size_t checked(int64_t token) const;
  void read_added(const std::string& folder);
  void add_behind(const JsonValue& place, int64_t token, const std::string& content);
  int64_t find_end(const std::string& folder) const;
  std::vector<int32_t> spell(int64_t token) const;
  /// By the library.
  std::vector<int32_t> process(std::string_view text) const;

  TokenizerFiles files_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<Piece> pieces_;
  int64_t end_of_text_ = 0;
  // What stands for the end of text where a text spells it, of a model to which it is a piece like others.
  std::vector<int32_t> spelt_end_;
  WordCuts cuts_ = WordCuts::kNowhere;
  mutable WordCache words_;
};

SentencePieceModel::SentencePieceModel(TokenizerFiles files, const std::string& folder) : files_(std::move(files)) {
  const std::string* model = nullptr;
  std::string place;
  for (const char* name : {kSentencePieceModel, "spiece.model", "sentencepiece.bpe.model"}) {
    const auto found = files_.find(name);
    if (found == files_.end() || model != nullptr) continue;
    model = &found->second;
    place = folder + name;
  }
  if (model == nullptr) parallel::user_error(folder, kSentencePieceModel, " is missing");
  require_sound_normalizer(*model, place);
  if (const auto status = processor_.LoadFromSerializedProto(*model); !status.ok()) {
    parallel::user_error(place, ": not a SentencePiece model: ", status.ToString());
  }
  pieces_ = sentencepiece_pieces(processor_);
  cuts_ = word_cuts(*model, pieces_, place);
  read_added(folder);
  end_of_text_ = find_end(folder);
  if (pieces_[static_cast<size_t>(end_of_text_)].kind != PieceKind::kControl) spelt_end_ = spell(end_of_text_);
  pieces_[static_cast<size_t>(end_of_text_)].kind = PieceKind::kControl;
}

void SentencePieceModel::add_behind(const JsonValue& place, int64_t token, const std::string& content) {
  if (token < processor_.GetPieceSize()) return;  // a piece that the model has anyway
  const auto index = static_cast<size_t>(token);
  while (pieces_.size() <= index) pieces_.push_back({"", 0, PieceKind::kControl});
  if (!pieces_[index].text.empty() && pieces_[index].text != content) {
    place.fail(parallel::concat("token ", token, " is '", parallel::printable(pieces_[index].text), "' already"));
  }
  pieces_[index].text = content;
}

void SentencePieceModel::read_added(const std::string& folder) {
  const int64_t largest = processor_.GetPieceSize() + kMostTokensBehind;
  if (const auto found = files_.find("added_tokens.json"); found != files_.end()) {
    const nlohmann::json json = parse_json(found->second, folder + found->first);
    if (!json.is_object()) parallel::user_error(folder, found->first, ": must be an object of pieces and tokens");
    for (const auto& [content, token] : json.items()) {
      const JsonValue value(token, folder + found->first + ": " + parallel::printable(content.substr(0, 100)));
      add_behind(value, value.integer(0, largest), content);
    }
  }
  if (const auto found = files_.find("tokenizer_config.json"); found != files_.end()) {
    const nlohmann::json json = parse_json(found->second, folder + found->first);
    const JsonValue all = JsonValue(json, folder + found->first)["added_tokens_decoder"];
    if (all.is_null() || !all.json().is_object()) return;
    for (const auto& [number, token] : all.json().items()) {
      const nlohmann::json parsed = nlohmann::json::parse(number, nullptr, /*allow_exceptions=*/false);
      const JsonValue value(token, all.place() + "." + parallel::printable(number.substr(0, 100)));
      add_behind(value, JsonValue(parsed, value.place()).integer(0, largest), value["content"].text());
    }
  }
}

int64_t SentencePieceModel::find_end(const std::string& folder) const {
  if (const auto name = end_of_text_name(files_, folder)) {
    for (size_t token = 0; token < pieces_.size(); ++token) {
      if (pieces_[token].text == *name) return static_cast<int64_t>(token);
    }
    parallel::user_error(folder, kSentencePieceModel, " has no piece '", parallel::printable(*name),
                         "', which is the eos_token of tokenizer_config.json");
  }
  if (processor_.eos_id() >= 0) return processor_.eos_id();
  parallel::user_error(folder, kSentencePieceModel, ": nothing says which token ends a text: the model has no such ",
                       "piece; legal: eos_token in a tokenizer_config.json beside it");
}

std::vector<int32_t> SentencePieceModel::spell(int64_t token) const {
  std::vector<int32_t> spelling;
  const std::string& text = pieces_[static_cast<size_t>(token)].text;
  for (size_t at = 0; at < text.size();) {
    const std::string character = text.substr(at, code_point_bytes(text, at));
    at += character.size();
    const int whole = processor_.PieceToId(character);
    if (whole != processor_.unk_id() && whole != token) {
      spelling.push_back(whole);
      continue;
    }
    for (const char byte : character) spelling.push_back(processor_.PieceToId(byte_piece(static_cast<uint8_t>(byte))));
  }
  return spelling;
}

size_t SentencePieceModel::checked(int64_t token) const {
  if (token < 0 || token >= vocabulary_size()) {
    parallel::user_error("token ", token, " is outside the vocabulary [0, ", vocabulary_size(), ")");
  }
  return static_cast<size_t>(token);
}

std::vector<int32_t> SentencePieceModel::encode_text(std::string_view text) const {
  if (valid_utf8_prefix(text) != text.size()) {
    parallel::user_error("the text is not UTF-8: ", describe_utf8_fault(text));
  }
  if (cuts_ == WordCuts::kNowhere) return process(text);
  std::vector<int32_t> tokens;
  tokens.reserve(text.size() / 3);
  for_each_word(text, cuts_, [&](std::string_view word) {
    words_.append(word, tokens, [this](std::string_view unknown) { return process(unknown); });
  });
  return tokens;
}

std::vector<int32_t> SentencePieceModel::process(std::string_view text) const {
  std::vector<int> ids;
  const auto status = processor_.Encode(text, &ids);
  parallel::check_internal(status.ok(), "SentencePiece cannot encode: ", status.ToString());
  std::vector<int32_t> tokens;
  tokens.reserve(ids.size());
  for (const int id : ids) {
    if (id == end_of_text_) {
      tokens.insert(tokens.end(), spelt_end_.begin(), spelt_end_.end());
    } else {
      tokens.push_back(id);
    }
  }
  return tokens;
}

std::string SentencePieceModel::decode(const std::vector<int32_t>& tokens) const {
  std::vector<int> ids;
  for (const int32_t token : tokens) {
    if (checked(token) < static_cast<size_t>(processor_.GetPieceSize())) ids.push_back(token);
  }
  std::string text;
  const auto status = processor_.Decode(ids, &text);
  parallel::check_internal(status.ok(), "SentencePiece cannot decode: ", status.ToString());
  return text;
}

int64_t SentencePieceModel::text_bytes(int64_t token) const {
  const Piece& piece = pieces_[checked(token)];
  if (piece.kind == PieceKind::kByte) return 1;
  return piece.kind == PieceKind::kNormal ? bytes_with_spaces(piece.text) : 0;
}

}  // namespace

std::shared_ptr<const Tokenizer> make_sentencepiece_model(TokenizerFiles files, const std::string& folder) {
  return std::make_shared<SentencePieceModel>(std::move(files), folder);
}

std::shared_ptr<const Tokenizer> load_sentencepiece_model(const std::string& serialized) {
  return make_sentencepiece_model(parse_files(serialized), "");
}

}  // namespace data
