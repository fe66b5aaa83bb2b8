#include "launch/toml/toml_guard.h"

#include <algorithm>
#include <cctype>

namespace launch {
namespace {

std::string_view without_blanks(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t"), text.size()));
}

/// "[", "[[" or "[" before what cannot begin a key.
bool begins_nameless_header(std::string_view rest) {
  if (!rest.starts_with('[')) return false;
  rest = without_blanks(rest.substr(1));
  if (rest.starts_with('[')) rest = without_blanks(rest.substr(1));
  constexpr std::string_view kOthers = "_-\"']";
  return rest.empty() || (!std::isalnum(static_cast<unsigned char>(rest[0])) && kOthers.find(rest[0]) == kOthers.npos);
}

class TomlScan {
 public:
  explicit TomlScan(std::string_view text) : text_(text), at_(text.starts_with("\xEF\xBB\xBF") ? 3 : 0) {}

  std::optional<Obstacle> first_obstacle() {
    while (at_ < text_.size() && reason_.empty()) step();
    if (reason_.empty()) return std::nullopt;
    return Obstacle{line_, reason_};
  }

 private:
  /// One character outside of quotes, or one whole string or comment.
  void step() {
    const char c = text_[at_];
    if (c == '"' || c == '\'') return skip_string(c);
    if (c == '#') return skip_comment();
    if (line_is_blank_ && begins_nameless_header(text_.substr(at_))) reason_ = "'[' without a name";
    if (static_cast<unsigned char>(c) >= 0x80) reason_ = "a character outside of quotes is not ASCII";
    constexpr int64_t kMostDots = 2000;
    if (c == '.' && ++dots_ > kMostDots) reason_ = "more than 2000 dots outside of quotes";
    const bool line_break = c == '\n' || c == '\r' || c == '\v' || c == '\f';
    line_is_blank_ = line_break || (line_is_blank_ && (c == ' ' || c == '\t'));
    if (c == '\n') ++line_;
    ++at_;
  }

  void skip_comment() { at_ = std::min(text_.find_first_of("\n\r\v\f", at_), text_.size()); }

  void skip_string(char quote) {
    line_is_blank_ = false;
    const bool several_lines = text_.substr(at_).starts_with(std::string(3, quote));
    at_ += several_lines ? 3 : 1;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n' && !several_lines) return stop();  // toml++ refuses the string here
      if (c == '\n') ++line_;
      if (c == quote && close_string(quote, several_lines)) return;
      at_ += c == '\\' && quote == '"' && at_ + 1 < text_.size() && text_[at_ + 1] != '\n' ? 2 : 1;
    }
  }

  /// At a quote: goes behind the string's end if this is its end.
  bool close_string(char quote, bool several_lines) {
    if (!several_lines) {
      ++at_;
      return true;
    }
    const std::string_view rest = text_.substr(at_);
    const size_t quotes = std::min(rest.find_first_not_of(quote), rest.size());
    if (quotes < 3) return false;
    at_ += std::min(quotes, size_t{5});  // the last two of five still belong to the text
    return true;
  }

  void stop() { at_ = text_.size(); }

  std::string_view text_;
  size_t at_;
  int64_t line_ = 1;
  int64_t dots_ = 0;
  bool line_is_blank_ = true;
  std::string reason_;
};

}  // namespace

std::optional<Obstacle> find_obstacle(std::string_view text) { return TomlScan(text).first_obstacle(); }

}  // namespace launch
