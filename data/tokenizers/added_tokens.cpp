#include "data/tokenizers/added_tokens.h"

#include <algorithm>
#include <utility>

#include "data/text/unicode.h"
#include "data/text/utf8.h"

namespace data {
namespace {

/// Where the last character of a text begins.
size_t last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  size_t at = last_character(text);
  return is_word_character(next_code_point(text, at));
}

bool starts_with_word(std::string_view text) {
  size_t at = 0;
  return !text.empty() && is_word_character(next_code_point(text, at));
}

size_t leading_white_space(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size() && is_white_space(next_code_point(text, at));) end = at;
  return end;
}

size_t trailing_white_space(std::string_view text) {
  const size_t whole = text.size();
  while (!text.empty()) {
    const size_t begin = last_character(text);
    size_t at = begin;
    if (!is_white_space(next_code_point(text, at))) break;
    text = text.substr(0, begin);
  }
  return whole - text.size();
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer) : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string, int32_t>> raw;
  std::vector<std::pair<std::string, int32_t>> normalized;
  for (const AddedToken& token : tokens_) {
    Pieces written{token.content, {{0, token.content.size(), 0}}};
    if (token.normalized && normalizer != nullptr) normalizer->apply(written);
    const auto index = static_cast<int32_t>(written_.size());
    written_.push_back(written.text);
    (token.normalized ? normalized : raw).emplace_back(std::move(written.text), index);
  }
  raw_ = ByteTrie(std::move(raw));
  normalized_ = ByteTrie(std::move(normalized));
}

std::vector<TextCut> AddedTokens::cut(const ByteTrie& trie, std::string_view text, Specials specials,
                                      const ControlPlaces* places) const {
  std::vector<TextCut> cuts;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t bytes = 0;
    int32_t index = -1;
    trie.for_each_prefix(text.substr(at), [&](size_t found_bytes, int32_t found) {
      bytes = found_bytes;
      index = found;
    });
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    const bool as_text = token.special && (specials == Specials::kAsText ||
                                           (places != nullptr && !std::ranges::binary_search(*places, at)));
    if (!as_text) take(token, text, {at, at + bytes, token.token}, cuts, done);
    at += bytes;
  }
  if (done < text.size()) cuts.push_back({done, text.size()});
  return cuts;
}

void AddedTokens::take(const AddedToken& token, std::string_view text, TextCut match, std::vector<TextCut>& cuts,
                       size_t& done) const {
  const std::string_view before = text.substr(0, match.begin);
  const std::string_view after = text.substr(match.end);
  if (token.single_word && (ends_with_word(before) || starts_with_word(after))) return;
  if (token.lstrip) match.begin = std::max(match.begin - trailing_white_space(before), done);
  if (token.rstrip) match.end += leading_white_space(after);
  if (done < match.begin) cuts.push_back({done, match.begin});
  cuts.push_back(match);
  done = match.end;
}

std::vector<int32_t> encode_between(const AddedTokens& controls, std::string_view text, const ControlPlaces* places,
                                    const std::function<std::vector<int32_t>(std::string_view)>& encode) {
  std::vector<int32_t> tokens;
  for (const TextCut& cut : controls.cut_raw(text, Specials::kParsed, places)) {
    if (cut.token >= 0) {
      tokens.push_back(cut.token);
      continue;
    }
    const std::vector<int32_t> between = encode(text.substr(cut.begin, cut.end - cut.begin));
    tokens.insert(tokens.end(), between.begin(), between.end());
  }
  return tokens;
}

}  // namespace data
