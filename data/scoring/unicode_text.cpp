#include "data/scoring/unicode_text.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include "data/text/utf8.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;
constexpr char32_t kCapitalIWithDot = 0x130;
constexpr char32_t kDotAbove = 0x307;

struct CodePoints {
  char32_t first = 0;
  char32_t last = 0;
};

/// Case_Ignorable (Unicode 14, section 3.13) in the blocks that lowercase() names, which the C library does not know.
constexpr CodePoints kCaseIgnorable[] = {
    {0x0027, 0x0027}, {0x002E, 0x002E}, {0x003A, 0x003A}, {0x005E, 0x005E}, {0x0060, 0x0060}, {0x00A8, 0x00A8},
    {0x00AD, 0x00AD}, {0x00AF, 0x00AF}, {0x00B4, 0x00B4}, {0x00B7, 0x00B8}, {0x02B0, 0x036F}, {0x0374, 0x0375},
    {0x037A, 0x037A}, {0x0384, 0x0385}, {0x0387, 0x0387}, {0x0483, 0x0489}, {0x0559, 0x0559}, {0x055F, 0x055F},
    {0x1AB0, 0x1ACE}, {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78}, {0x1D9B, 0x1DFF}, {0x1FBD, 0x1FBD}, {0x1FBF, 0x1FC1},
    {0x1FCD, 0x1FCF}, {0x1FDD, 0x1FDF}, {0x1FED, 0x1FEF}, {0x1FFD, 0x1FFE}, {0x200B, 0x200F}, {0x2018, 0x2019},
    {0x2024, 0x2024}, {0x2027, 0x2027}, {0x202A, 0x202E}, {0x2060, 0x2064}, {0x2066, 0x206F}, {0x2071, 0x2071},
    {0x207F, 0x207F}, {0x2090, 0x209C}, {0x20D0, 0x20F0}, {0x2C7C, 0x2C7D}, {0x2CEF, 0x2CF1}, {0x2D6F, 0x2D6F},
    {0x2D7F, 0x2D7F}, {0x2DE0, 0x2DFF}, {0x2E2F, 0x2E2F}, {0xA66F, 0xA672}, {0xA674, 0xA67D}, {0xA67F, 0xA67F},
    {0xA69C, 0xA69F}, {0xA6F0, 0xA6F1}, {0xA700, 0xA721}, {0xA770, 0xA770}, {0xA788, 0xA78A}, {0xA7F2, 0xA7F4},
    {0xA7F8, 0xA7F9}, {0xAB5B, 0xAB5F}, {0xAB69, 0xAB6B}, {0xFE00, 0xFE0F}, {0xFE13, 0xFE13}, {0xFE20, 0xFE2F},
    {0xFEFF, 0xFEFF}};

bool is_case_ignorable(char32_t c) {
  const auto* range = std::upper_bound(std::begin(kCaseIgnorable), std::end(kCaseIgnorable), c,
                                       [](char32_t value, const CodePoints& other) { return value < other.first; });
  return range != std::begin(kCaseIgnorable) && c <= std::prev(range)->last;
}

/// Not the program's locale: a score must not depend on the user's environment.
locale_t unicode_locale() {
  static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", static_cast<locale_t>(nullptr));
  if (locale == static_cast<locale_t>(nullptr))
    parallel::user_error(
        "lower-casing texts for a score needs the locale C.UTF-8, which this system does not have; "
        "install it, or score with upper and lower case told apart");
  return locale;
}

bool is_cased(char32_t c) {
  const locale_t locale = unicode_locale();
  return ::iswupper_l(static_cast<wint_t>(c), locale) != 0 || ::iswlower_l(static_cast<wint_t>(c), locale) != 0;
}

/// Unicode's Final_Sigma: a letter before it and none after it, neither counting marks.
bool is_final(std::u32string_view text, size_t sigma) {
  size_t before = sigma;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = sigma + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

/// Appends the character at `at`, known to be valid, and returns its length in bytes.
size_t append_character(std::string_view text, size_t at, std::u32string& decoded) {
  constexpr std::array<uint8_t, 5> kPayloadOfFirst = {0, 0x7F, 0x1F, 0x0F, 0x07};
  const size_t bytes = code_point_bytes(text, at);
  char32_t c = static_cast<uint8_t>(text[at]) & kPayloadOfFirst[bytes];
  for (size_t i = 1; i < bytes; ++i) c = c << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3F);
  decoded.push_back(c);
  return bytes;
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string decoded;
  decoded.reserve(text.size());
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    for (size_t at = 0; at < valid;) at += append_character(text, at, decoded);
    text.remove_prefix(valid);
    if (text.empty()) break;
    decoded.push_back(0xDC00 + static_cast<uint8_t>(text.front()));
    text.remove_prefix(1);
  }
  return decoded;
}

bool is_whitespace(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  if (c >= 0x2000 && c <= 0x200A) return true;
  return c == 0x85 || c == 0xA0 || c == 0x1680 || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::u32string_view strip_end(std::u32string_view text) {
  while (!text.empty() && is_whitespace(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::u32string> split_words(std::u32string_view text) {
  std::vector<std::u32string> words;
  auto at = text.begin();
  while (true) {
    at = std::find_if_not(at, text.end(), is_whitespace);
    if (at == text.end()) return words;
    const auto end = std::find_if(at, text.end(), is_whitespace);
    words.emplace_back(at, end);
    at = end;
  }
}

std::u32string lowercase(std::u32string_view text) {
  const locale_t locale = unicode_locale();
  std::u32string lower;
  lower.reserve(text.size());
  for (size_t at = 0; at < text.size(); ++at) {
    const char32_t c = text[at];
    if (c == kCapitalIWithDot) {
      lower += {U'i', kDotAbove};
    } else if (c == kCapitalSigma && is_final(text, at)) {
      lower.push_back(kFinalSigma);
    } else {
      lower.push_back(static_cast<char32_t>(::towlower_l(static_cast<wint_t>(c), locale)));
    }
  }
  return lower;
}

}  // namespace data
