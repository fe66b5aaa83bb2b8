#include "data/shaping/charsmap.h"

#include <cstring>

#include "data/text/utf8.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr uint32_t kMostTrieBytes = 16 << 20;  // the largest one known has 0.3 MB
constexpr size_t kLongestGrapheme = 6;         // [bytes], exclusive: SentencePiece never makes longer rules

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/// A unit of the double array (Yata's darts-clone): 8 bits of label, a mark of where values are, and an offset.
size_t offset_of(uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & 0x200u) >> 6); }
uint32_t label_of(uint32_t unit) { return unit & 0x800000FFu; }
bool has_value(uint32_t unit) { return (unit & 0x100u) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFFu; }

}  // namespace

std::string decode_base64(std::string_view text, const std::string& place) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int digit = base64_digit(text[i]);
    if (digit < 0) parallel::user_error(place, ": no base64 at byte ", i);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return bytes;
}

Charsmap::Charsmap(std::string_view bytes, const std::string& place) : graphemes_(Regex::own("\\X")) {
  uint32_t trie_bytes = 0;
  if (bytes.size() >= sizeof(trie_bytes)) std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  if (trie_bytes == 0 || trie_bytes > kMostTrieBytes || trie_bytes % 4 != 0 ||
      trie_bytes > bytes.size() - sizeof(trie_bytes)) {
    parallel::user_error(place, ": no table of SentencePiece's normaliser: ", bytes.size(), " bytes, of which ",
                         trie_bytes, " would be its trie");
  }
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), bytes.data() + sizeof(trie_bytes), trie_bytes);
  replacements_ = bytes.substr(sizeof(trie_bytes) + trie_bytes);
  if (valid_utf8_prefix(replacements_) != replacements_.size()) {
    parallel::user_error(place, ": its replacements are not UTF-8: ", describe_utf8_fault(replacements_));
  }
}

void Charsmap::require_sound(const std::string& place) const {
  const auto damaged = [&] {
    parallel::user_error(place, ": SentencePiece's normaliser would read outside of its table");
  };
  std::vector<bool> seen(units_.size());
  std::vector<size_t> bases{offset_of(units_[0])};
  while (!bases.empty()) {
    const size_t base = bases.back();
    bases.pop_back();
    if ((base | 0xFF) >= units_.size()) damaged();  // it looks at the unit of any byte
    if (seen[base]) continue;
    seen[base] = true;
    for (size_t byte = 1; byte < 256; ++byte) {
      const uint32_t unit = units_[base ^ byte];
      if (label_of(unit) != byte) continue;
      const size_t next = base ^ byte ^ offset_of(unit);
      if (has_value(unit) && (next >= units_.size() || value_of(units_[next]) >= replacements_.size())) damaged();
      bases.push_back(next);
    }
  }
}

bool Charsmap::keeps_words() const {
  // By bases, which parts of a double array may share: whatever leads to one.
  std::vector<bool> seen(units_.size());
  std::vector<size_t> bases{offset_of(units_[0])};
  while (!bases.empty()) {
    const size_t base = bases.back();
    bases.pop_back();
    if ((base | 0xFF) >= units_.size()) return false;
    if (seen[base]) continue;
    seen[base] = true;
    for (size_t byte = 1; byte < 256; ++byte) {
      const uint32_t unit = units_[base ^ byte];
      if (label_of(unit) != byte) continue;
      if (byte == ' ' || (byte > ' ' && byte < 0x7F && has_value(unit))) return false;  // an entry that ends so
      bases.push_back(base ^ byte ^ offset_of(unit));
    }
  }
  return true;
}

bool Charsmap::append_replacement(std::string_view part, std::string& text) const {
  size_t node = offset_of(units_[0]);
  for (const char c : part) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte == 0) return false;
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) return false;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_value(unit)) continue;
    if (node >= units_.size()) return false;
    const size_t begin = value_of(units_[node]);
    if (begin >= replacements_.size()) return false;
    // A damaged table may point into the middle of a character, which then is none.
    text += replace_invalid_utf8(replacements_.c_str() + begin);
    return true;
  }
  return false;
}

std::string Charsmap::normalize(std::string_view text) const {
  std::vector<TextRange> graphemes;
  graphemes_.find_all(text, graphemes);
  std::string normalized;
  normalized.reserve(text.size());
  for (const TextRange& range : graphemes) {
    const std::string_view grapheme = text.substr(range.begin, range.end - range.begin);
    if (grapheme.size() < kLongestGrapheme && append_replacement(grapheme, normalized)) continue;
    for (size_t at = 0; at < grapheme.size();) {
      const std::string_view part = grapheme.substr(at, code_point_bytes(grapheme, at));
      if (!append_replacement(part, normalized)) normalized += part;
      at += part.size();
    }
  }
  return normalized;
}

}  // namespace data
