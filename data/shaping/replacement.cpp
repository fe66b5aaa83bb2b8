#include "data/shaping/replacement.h"

namespace data {

Regex pattern_of(const JsonValue& value) {
  const JsonValue expression = value["Regex"];
  const JsonValue literal = value["String"];
  if (expression.is_null() == literal.is_null()) value.fail("must be {\"String\": ...} or {\"Regex\": ...}");
  return literal.is_null() ? Regex(expression.text(), expression.place())
                           : Regex::literal(literal.text(), literal.place());
}

bool Replacement::matches_start(std::string_view text) const {
  std::vector<TextRange> matches;
  pattern_.find_all(text, matches);
  return !matches.empty() && matches.front().begin == 0 && matches.front().end > 0;
}

std::string Replacement::apply(std::string_view text) const {
  if (text.empty()) return {};  // where even an empty match does not count
  std::vector<TextRange> matches;
  pattern_.find_all(text, matches);
  std::string replaced;
  size_t done = 0;
  for (const TextRange& match : matches) {
    replaced += text.substr(done, match.begin - done);
    replaced += content_;
    done = match.end;
  }
  replaced += text.substr(done);
  return replaced;
}

}  // namespace data
