#include "parallel/base/printable.h"

#include <cstdint>
#include <cstdio>

namespace parallel {
namespace {

/// A character of UTF-8 and how many bytes it takes; no bytes where there is none.
struct Decoded {
  uint32_t point = 0;
  size_t bytes = 0;
};

Decoded decode(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {first, 1};
  const size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || bytes > text.size()) return {};
  uint32_t point = first & (0xFFu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<uint8_t>(text[i]);
    if ((next & 0xC0) != 0x80) return {};
    point = point << 6 | (next & 0x3Fu);
  }
  const uint32_t least = bytes == 4 ? 0x10000 : bytes == 3 ? 0x800 : 0x80;
  const bool legal = point >= least && point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
  return legal ? Decoded{point, bytes} : Decoded{};
}

std::string written_out(const char* format, uint32_t number) {
  char text[16];
  std::snprintf(text, sizeof(text), format, static_cast<unsigned>(number));
  return text;
}

/// Zero-width marks, line and paragraph separators, embeddings and isolates of a direction, the byte order mark.
bool is_unseen(uint32_t point) {
  return (point >= 0x200B && point <= 0x200F) || (point >= 0x2028 && point <= 0x202E) ||
         (point >= 0x2060 && point <= 0x206F) || point == 0xFEFF;
}

std::string shown(std::string_view character, uint32_t point) {
  if (point == '\n') return "\\n";
  if (point == '\t') return "\\t";
  if (point == '\r') return "\\r";
  if (point < 0x20 || (point >= 0x7F && point < 0xA0)) return written_out("\\x%02x", point);
  if (is_unseen(point)) return written_out("\\u%04x", point);
  return std::string(character);
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const Decoded next = decode(text);
    const size_t bytes = next.bytes == 0 ? 1 : next.bytes;
    const auto first = static_cast<uint8_t>(text[0]);
    result += next.bytes == 0 ? written_out("\\x%02x", first) : shown(text.substr(0, bytes), next.point);
    text.remove_prefix(bytes);
  }
  return result;
}

}  // namespace parallel
