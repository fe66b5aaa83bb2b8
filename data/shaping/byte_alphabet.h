// The two ways in which vocabularies spell bytes.
// defines: byte_alphabet, to_byte_alphabet, from_byte_alphabet, byte_piece, byte_of_piece
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace data {

/// How byte-level vocabularies spell the 256 bytes: a printable Latin-1 character stands for its own byte, and the n-th
/// of the others is U+0100 + n ("Ġ" for a space).
const std::array<std::string, 256>& byte_alphabet();

std::string to_byte_alphabet(std::string_view bytes);

/// Nothing where the text, which is valid UTF-8, has a character that is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

/// "<0x0A>", of vocabularies that fall back to bytes.
std::string byte_piece(uint8_t byte);

/// The byte of a piece that is spelt so, in digits of any case.
std::optional<uint8_t> byte_of_piece(std::string_view piece);

}  // namespace data
