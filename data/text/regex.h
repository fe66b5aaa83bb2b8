// Regular expressions as tokenizers write them, run by PCRE2.
// defines: TextRange, Regex
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace data {

struct TextRange {
  size_t begin = 0;  // [bytes]
  size_t end = 0;
};

/// A compiled expression. Immutable, cheap to copy, and any number of threads may use one. What one match may cost is
/// bounded: an expression that would search for ever is a UserError of find_all.
class Regex {
 public:
  /// An expression in the dialect of Oniguruma, which is what tokenizer.json is written in (oniguruma.h).
  /// UserError that begins with `place` and names expression, offset and reason where it does not compile.
  Regex(const std::string& expression, const std::string& place);
  /// Matches exactly this text.
  static Regex literal(const std::string& text, const std::string& place);
  /// An expression in PCRE2's own dialect, of this program's own making.
  static Regex own(const std::string& expression);

  /// All matches, one after the other; an empty one counts unless it touches the match before it. `text` is valid
  /// UTF-8.
  void find_all(std::string_view text, std::vector<TextRange>& matches) const;

 private:
  class Program;
  explicit Regex(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  std::shared_ptr<const Program> program_;
};

}  // namespace data
