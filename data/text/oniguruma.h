// The expressions of tokenizer.json, which are Oniguruma's, in PCRE2's words.
// defines: Translation, translate_oniguruma
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace data {

struct Translation {
  std::string pattern;          // for PCRE2 with UTF, UCP and MULTILINE
  std::vector<size_t> origins;  // where each of its bytes comes from, and its end
};

/// Both read most of it alike. What differs, and is rewritten: \s is Unicode's White_Space (PCRE2 adds U+180E); \w and
/// \b go by letters, marks, decimal digits and connectors; \h is a hexadecimal digit and \v one character; X{n,m}+ is
/// repeated and not possessive, X{n}? is optional, {,n} begins at 0; (?m) lets the dot match a newline; the named
/// classes of brackets are properties. What PCRE2 has no words for (&& and sets inside sets, \W inside brackets) is a
/// UserError that begins with `place`; so is what only PCRE2 would understand (verbs, \Q).
Translation translate_oniguruma(const std::string& expression, const std::string& place);

}  // namespace data
