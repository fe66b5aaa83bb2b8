// Text as Python's str sees it, which is what sacreBLEU counts in.
// defines: decode_utf8, is_whitespace, strip_end, split_words, lowercase
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// The code points of a text. Any bytes will do: one that belongs to no valid character becomes U+DC00 + byte, a code
/// point that valid text cannot hold (PEP 383, Python's errors="surrogateescape"), so different faults stay different.
std::u32string decode_utf8(std::string_view text);

/// Python's str.isspace(): Unicode's White_Space and the four separators U+001C to U+001F.
bool is_whitespace(char32_t c);

/// Python's str.rstrip().
std::u32string_view strip_end(std::u32string_view text);

/// Python's str.split(): the stretches without whitespace.
std::vector<std::u32string> split_words(std::u32string_view text);

/// Python's str.lower(). Exact for every code point of the C library's Unicode version (14 in glibc 2.36), with the two
/// mappings that are more than code point by code point: U+0130, and the final form of a capital sigma. The latter
/// looks at its neighbours past the marks of U+0000-058F, 1AB0-1AFF, 1D00-2E7F, A640-A7FF, AB30-AB6F, FE00-FE2F and
/// FEFF: Latin, Greek, Cyrillic, Armenian, and what is common to all scripts; marks of other scripts (Hebrew points,
/// say) between a sigma and its word end the word for us, not for Python. Needs the locale C.UTF-8 (UserError without
/// it).
std::u32string lowercase(std::u32string_view text);

}  // namespace data
