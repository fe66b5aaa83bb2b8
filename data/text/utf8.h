// defines: valid_utf8_prefix, describe_utf8_fault, code_point_bytes, next_code_point, append_code_point,
// replace_invalid_utf8
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace data {

/// Length in bytes of the longest valid UTF-8 prefix; text.size() where all of it is valid. Overlong forms,
/// surrogates, values above U+10FFFF and characters cut off by the end of the text are not valid.
size_t valid_utf8_prefix(std::string_view text);

/// "byte 0xC3 at offset 17 (cut off or not continued)", for a text that is not valid.
std::string describe_utf8_fault(std::string_view text);

/// Bytes of the character that starts at `at`, for a text known to be valid.
size_t code_point_bytes(std::string_view text, size_t at);

/// The character that starts at `at`, which moves past it, for a text known to be valid.
char32_t next_code_point(std::string_view text, size_t& at);

void append_code_point(std::string& text, char32_t c);

/// Each stretch of bytes that begins a character and does not end it, and each other byte that is none, becomes one
/// U+FFFD (Unicode 15, "maximal subparts"; Rust's from_utf8_lossy).
std::string replace_invalid_utf8(std::string_view text);

}  // namespace data
