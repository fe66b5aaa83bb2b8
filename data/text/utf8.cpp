#include "data/text/utf8.h"

#include <cstdint>
#include <cstring>

#include "parallel/base/fault.h"

namespace data {
namespace {

/// What may follow a first byte: how many bytes in all, and the legal range of the second one, which is where
/// overlong forms, surrogates and values above U+10FFFF show (Unicode 15, table 3-7).
struct Utf8Form {
  size_t bytes = 0;  // 0: not a first byte
  uint8_t second_low = 0x80;
  uint8_t second_high = 0xBF;
};

Utf8Form form_of(uint8_t first) {
  if (first < 0x80) return {1};
  if (first < 0xC2) return {0};
  if (first < 0xE0) return {2};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first < 0xF0) return {3};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first < 0xF4) return {4};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

bool is_character(std::string_view text, size_t at, const Utf8Form& form) {
  if (form.bytes == 0 || form.bytes > text.size() - at) return false;
  if (form.bytes == 1) return true;
  const auto second = static_cast<uint8_t>(text[at + 1]);
  if (second < form.second_low || second > form.second_high) return false;
  for (size_t i = 2; i < form.bytes; ++i) {
    if ((static_cast<uint8_t>(text[at + i]) & 0xC0) != 0x80) return false;
  }
  return true;
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;  // characters of ASCII, most of most texts
    if (text.size() - at >= sizeof eight) {
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if ((eight & 0x8080808080808080) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    const Utf8Form form = form_of(static_cast<uint8_t>(text[at]));
    if (!is_character(text, at, form)) return at;
    at += form.bytes;
  }
  return at;
}

std::string describe_utf8_fault(std::string_view text) {
  const size_t at = valid_utf8_prefix(text);
  parallel::check_internal(at < text.size(), "the text is valid UTF-8, there is no fault to describe");
  const auto byte = static_cast<uint8_t>(text[at]);
  const char* digits = "0123456789ABCDEF";
  const char* why = "cut off or not continued as it must be";
  if (form_of(byte).bytes == 0) why = "never starts a character";
  if (byte == 0xED && at + 1 < text.size() && static_cast<uint8_t>(text[at + 1]) >= 0xA0)
    why = "half of a surrogate pair";
  if (byte == 0xC0 || byte == 0xC1) why = "starts an overlong form";
  return parallel::concat("byte 0x", digits[byte >> 4], digits[byte & 15], " at offset ", at, " (", why, ")");
}

size_t code_point_bytes(std::string_view text, size_t at) { return form_of(static_cast<uint8_t>(text[at])).bytes; }

char32_t next_code_point(std::string_view text, size_t& at) {
  const size_t bytes = code_point_bytes(text, at);
  auto c = static_cast<char32_t>(static_cast<uint8_t>(text[at]));
  if (bytes > 1) c &= 0xFFu >> (bytes + 1);
  for (size_t i = 1; i < bytes; ++i) c = c << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  at += bytes;
  return c;
}

void append_code_point(std::string& text, char32_t c) {
  if (c < 0x80) {
    text.push_back(static_cast<char>(c));
    return;
  }
  const int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  text.push_back(static_cast<char>((0xFF00u >> (tail + 1) & 0xFFu) | c >> (6 * tail)));
  for (int i = tail - 1; i >= 0; --i) text.push_back(static_cast<char>(0x80u | (c >> (6 * i) & 0x3Fu)));
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (true) {
    const size_t good = valid_utf8_prefix(text);
    valid.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return valid;
    const Utf8Form form = form_of(static_cast<uint8_t>(text[0]));
    size_t bad = 1;
    const auto continues = [&](size_t i) {
      const auto byte = static_cast<uint8_t>(text[i]);
      return i == 1 ? byte >= form.second_low && byte <= form.second_high : (byte & 0xC0) == 0x80;
    };
    while (bad < form.bytes && bad < text.size() && continues(bad)) ++bad;
    valid.append("\xEF\xBF\xBD");
    text.remove_prefix(bad);
  }
}

}  // namespace data
