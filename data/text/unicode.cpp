#include "data/text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <array>

#include "data/text/utf8.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

/// The Unicode version of the table that `tokenizers` reads marks and punctuation from.
constexpr uint8_t kPunctuationVersion = 8;
constexpr uint8_t kMarkVersion = 9;
constexpr char32_t kSandhiMark = 0x111C9;  // of Sharada
constexpr const char* kNormalFormSet = "[:age=9.0:]";

bool is_as_old_as(char32_t c, uint8_t version) {
  UVersionInfo age{};
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= version;
}

const icu::Normalizer2& whole_normalizer(NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  if (form == NormalForm::kNfc) found = icu::Normalizer2::getNFCInstance(status);
  if (form == NormalForm::kNfd) found = icu::Normalizer2::getNFDInstance(status);
  if (form == NormalForm::kNfkc) found = icu::Normalizer2::getNFKCInstance(status);
  if (form == NormalForm::kNfkd) found = icu::Normalizer2::getNFKDInstance(status);
  parallel::check_internal(U_SUCCESS(status) != 0, "ICU has no normal forms: ", u_errorName(status));
  return *found;
}

const icu::UnicodeSet& normalized_characters() {
  static const icu::UnicodeSet characters = [] {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet set(icu::UnicodeString::fromUTF8(kNormalFormSet), status);
    parallel::check_internal(U_SUCCESS(status) != 0, "ICU knows no ages: ", u_errorName(status));
    return set;
  }();
  return characters;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

std::string normalize(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const icu::FilteredNormalizer2 normalizer(whole_normalizer(form), normalized_characters());
  std::string normalized;
  icu::StringByteSink<std::string> sink(&normalized, static_cast<int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  normalizer.normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  parallel::check_internal(U_SUCCESS(status) != 0, "ICU cannot normalise: ", u_errorName(status));
  return normalized;
}

std::string lowercase_characters(std::string_view text) {
  std::string lowered;
  lowered.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == U'\u0130') {  // the one character whose small form is two
      lowered += "i\u0307";
    } else {
      append_code_point(lowered, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
    }
  }
  return lowered;
}

bool is_white_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }

bool is_numeric(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0; }

bool is_punctuation(char32_t c) {
  if (c == 0x166D || c == kSandhiMark) return true;  // until Unicode 11 and 12
  if (c < 0x80) return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_P_MASK | U_GC_S_MASK)) != 0;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0 && is_as_old_as(c, kPunctuationVersion);
}

bool is_mark(char32_t c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // until Unicode 12
  if (c == kSandhiMark) return false;           // until Unicode 11
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0 && is_as_old_as(c, kMarkVersion);
}

bool is_word_character(char32_t c) {
  const auto code_point = static_cast<UChar32>(c);
  return u_hasBinaryProperty(code_point, UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(code_point, UCHAR_JOIN_CONTROL) != 0 ||
         (U_GET_GC_MASK(code_point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

}  // namespace data
