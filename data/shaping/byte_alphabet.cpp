#include "data/shaping/byte_alphabet.h"

#include <charconv>

#include "data/text/utf8.h"

namespace data {
namespace {

constexpr size_t kAlphabetEnd = 0x100 + 68;  // 68 of the bytes are no printable Latin-1

struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, kAlphabetEnd> bytes;  // by code point; -1: of no byte
};

const ByteAlphabet& alphabet_tables() {
  static const ByteAlphabet tables = [] {
    ByteAlphabet made;
    made.bytes.fill(-1);
    char32_t other = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
      const char32_t c = printable ? byte : other++;
      append_code_point(made.characters[byte], c);
      made.bytes[c] = static_cast<int16_t>(byte);
    }
    return made;
  }();
  return tables;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() { return alphabet_tables().characters; }

std::string to_byte_alphabet(std::string_view bytes) {
  const auto& characters = byte_alphabet();
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) text += characters[static_cast<uint8_t>(byte)];
  return text;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  const auto& table = alphabet_tables().bytes;
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c >= kAlphabetEnd || table[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(table[c]));
  }
  return bytes;
}

std::string byte_piece(uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

std::optional<uint8_t> byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  if (error != std::errc() || end != piece.data() + 5) return std::nullopt;
  return byte;
}

}  // namespace data
