#include "data/scoring/tokenizer_13a.h"

#include <utility>

#include "data/scoring/unicode_text.h"

namespace data {
namespace {

// Not std::isdigit and the like: the expressions know ASCII only, whatever the locale.
bool is_ascii_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool is_point(char32_t c) { return c == U'.' || c == U','; }
bool is_dash(char32_t c) { return c == U'-'; }

/// [\{-\~\[-\` -\&\(-\+\:-\@\/]: ASCII that is no letter, digit or control, but the apostrophe, comma, dash and point.
bool is_separate(char32_t c) {
  const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  return within(U'{', U'~') || within(U'[', U'`') || within(U' ', U'&') || within(U'(', U'+') || within(U':', U'@') ||
         c == U'/';
}

void replace_all(std::u32string& text, std::u32string_view from, std::u32string_view to) {
  size_t at = text.find(from);
  if (at == std::u32string::npos) return;
  std::u32string replaced;
  size_t kept = 0;
  for (; at != std::u32string::npos; at = text.find(from, kept)) {
    replaced.append(text, kept, at - kept).append(to);
    kept = at + from.size();
  }
  replaced.append(text, kept);
  text = std::move(replaced);
}

std::u32string separate_symbols(std::u32string_view text) {
  std::u32string spaced;
  for (const char32_t c : text) {
    if (is_separate(c)) {
      spaced += {U' ', c, U' '};
    } else {
      spaced.push_back(c);
    }
  }
  return spaced;
}

/// Which of the two characters of a pair gets spaces on both of its sides.
enum class Separated { kFirst, kSecond };

/// Python's re.sub over pairs of characters: from the left, and what one match took is not part of the next, so that of
/// "a..b" the first point belongs to "a." and the second to nothing.
template <class First, class Second>
std::u32string separate_in_pairs(std::u32string_view text, First first, Second second, Separated separated) {
  std::u32string spaced;
  for (size_t at = 0; at < text.size(); ++at) {
    const char32_t c = text[at];
    if (at + 1 == text.size() || !first(c) || !second(text[at + 1])) {
      spaced.push_back(c);
      continue;
    }
    const char32_t next = text[++at];
    if (separated == Separated::kFirst) {
      spaced += {U' ', c, U' ', next};
    } else {
      spaced += {c, U' ', next, U' '};
    }
  }
  return spaced;
}

}  // namespace

std::vector<std::u32string> tokenize_13a(std::u32string_view text) {
  const auto no_digit = [](char32_t c) { return !is_ascii_digit(c); };
  std::u32string line(text);
  replace_all(line, U"<skipped>", U"");
  replace_all(line, U"-\n", U"");
  replace_all(line, U"\n", U" ");
  // In this order: "&amp;lt;" becomes "<", as it does there.
  replace_all(line, U"&quot;", U"\"");
  replace_all(line, U"&amp;", U"&");
  replace_all(line, U"&lt;", U"<");
  replace_all(line, U"&gt;", U">");
  line = separate_symbols(U' ' + line + U' ');
  line = separate_in_pairs(line, no_digit, is_point, Separated::kSecond);
  line = separate_in_pairs(line, is_point, no_digit, Separated::kFirst);
  line = separate_in_pairs(line, is_ascii_digit, is_dash, Separated::kSecond);
  return split_words(line);
}

}  // namespace data
