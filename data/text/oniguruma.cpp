#include "data/text/oniguruma.h"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace data {
namespace {

constexpr std::string_view kWordParts = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
/// Outside of brackets its table of Latin-1 decides, which has superscripts and fractions too.
constexpr std::string_view kLatinWordParts = "\\xb2\\xb3\\xb9\\xbc-\\xbe";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

/// Names of properties, of which PCRE2 knows another form.
struct PropertyName {
  std::string_view known;
  std::string_view ours;
};
constexpr std::array<PropertyName, 15> kPropertyNames{{{"alpha", "Alphabetic"},
                                                       {"digit", "Nd"},
                                                       {"space", "White_Space"},
                                                       {"upper", "Uppercase"},
                                                       {"lower", "Lowercase"},
                                                       {"Alpha", "Alphabetic"},
                                                       {"Digit", "Nd"},
                                                       {"Space", "White_Space"},
                                                       {"Letter", "L"},
                                                       {"Mark", "M"},
                                                       {"Number", "N"},
                                                       {"Punctuation", "P"},
                                                       {"Symbol", "S"},
                                                       {"Separator", "Z"},
                                                       {"Other", "C"}}};
constexpr size_t kBracketNames = 5;  // the first of them are those of "[:alpha:]" too

/// What both Oniguruma's later Unicode and our classes of brackets say, but not the properties of PCRE2's Unicode 14.
std::string_view later_members(std::string_view property) {
  if (property == "Alphabetic") {
    return "\\x{363}-\\x{36f}\\x{c04}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{11080}\\x{11081}";
  }
  return property == "Lowercase" ? "\\x{10fc}\\x{a7f2}-\\x{a7f4}\\x{ab69}" : "";
}

/// PCRE2's \p{Han} is the script with its extensions, Oniguruma's without.
bool is_script(const std::string& name) {
  const std::string pattern = "\\p{sc:" + name + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

/// Walks an expression once, atom by atom.
class OnigurumaReader {
 public:
  OnigurumaReader(const std::string& expression, const std::string& place) : from_(expression), place_(place) {}

  Translation read() {
    while (at_ < from_.size()) read_atom();
    made_.origins.push_back(from_.size());
    return std::move(made_);
  }

 private:
  [[noreturn]] void refuse(size_t at, const std::string& why) const {
    parallel::user_error(place_, ": the regular expression '", parallel::printable(from_.substr(0, 200)),
                         "' cannot be used: at byte ", at, ", ", why);
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < from_.size() ? from_[at_ + ahead] : '\0'; }
  bool sees(std::string_view text) const { return std::string_view(from_).substr(at_).starts_with(text); }

  void put(std::string_view text, size_t origin) {
    made_.pattern += text;
    made_.origins.resize(made_.pattern.size(), origin);
  }
  void copy(size_t bytes) {
    for (size_t i = 0; i < bytes && at_ < from_.size(); ++i, ++at_) put(std::string_view(from_).substr(at_, 1), at_);
  }

  void read_atom() {
    const char c = peek();
    if (c == '(') return open_group();
    if (c == ')') {
      if (!groups_.empty()) atom_ = groups_.back();
      if (!groups_.empty()) groups_.pop_back();
      return copy(1);
    }
    if (c == '{' && read_interval()) return;
    if (c == '*' || c == '+' || c == '?') return copy(1);
    atom_ = made_.pattern.size();
    if (c == '[') return read_class();
    if (c == '\\') return read_escape();
    copy(1);
    while (at_ < from_.size() && (static_cast<unsigned char>(peek()) & 0xC0) == 0x80) copy(1);
  }

  void open_group() {
    if (sees("(*")) refuse(at_, "(* begins a verb of PCRE2");
    groups_.push_back(made_.pattern.size());
    if (!sees("(?")) return copy(1);
    if (sees("(?#")) {
      groups_.pop_back();
      at_ = std::min(from_.find(')', at_), from_.size() - 1) + 1;
      return;
    }
    size_t end = at_ + 2;
    while (end < from_.size() && std::string_view("imx-").find(from_[end]) != std::string_view::npos) ++end;
    if (end == at_ + 2 || end >= from_.size() || (from_[end] != ':' && from_[end] != ')')) return copy(2);
    copy(2);
    for (; at_ < end; ++at_) put(peek() == 'm' ? "s" : std::string_view(&from_[at_], 1), at_);
  }

  /// {n}, {n,}, {n,m} or {,m}; nothing else between braces is a repetition.
  bool read_interval() {
    const size_t end = from_.find('}', at_);
    if (end == std::string::npos) return false;
    const std::string inside = from_.substr(at_ + 1, end - at_ - 1);
    const bool known = !inside.empty() && inside != "," && std::count(inside.begin(), inside.end(), ',') <= 1 &&
                       inside.find_first_not_of("0123456789,") == std::string::npos;
    if (!known) return false;
    const char after = end + 1 < from_.size() ? from_[end + 1] : '\0';
    const bool wraps = after == '+' || (after == '?' && inside.find(',') == std::string::npos);
    if (wraps) wrap_atom();
    put("{", at_);
    if (inside.front() == ',') put("0", at_);
    put(inside, at_);
    put(wraps ? "})" : "}", at_);
    at_ = end + 1;
    return true;
  }

  /// "X" becomes "(?:X".
  void wrap_atom() {
    constexpr std::string_view kOpen = "(?:";
    made_.pattern.insert(atom_, kOpen);
    made_.origins.insert(made_.origins.begin() + static_cast<ptrdiff_t>(atom_), kOpen.size(), at_);
  }

  void replace_escape(std::string_view text) {
    put(text, at_);
    at_ += 2;
  }

  void read_escape() {
    const std::string parts = std::string(kWordParts) + std::string(kLatinWordParts) + "]";
    const std::string word = "[" + parts;
    switch (peek(1)) {
      case 'w':
        return replace_escape(word);
      case 'W':
        return replace_escape("[^" + parts);
      case 'b':
        return replace_escape("(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))");
      case 'B':
        return replace_escape("(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))");
      case 'h':
        return replace_escape("[" + std::string(kHexDigits) + "]");
      case 'H':
        return replace_escape("[^" + std::string(kHexDigits) + "]");
      default:
        read_common_escape();
    }
  }

  /// What means the same inside and outside of brackets.
  void read_common_escape() {
    switch (peek(1)) {
      case 's':
        return replace_escape("\\p{White_Space}");
      case 'S':
        return replace_escape("\\P{White_Space}");
      case 'v':
        return replace_escape("\\x0b");
      case 'u':
        put("\\x{" + from_.substr(std::min(at_ + 2, from_.size()), 4) + "}", at_);
        at_ = std::min(at_ + 6, from_.size());
        return;
      case 'Q':
      case 'E':
      case 'C':
        refuse(at_, std::string("unknown escape \\") + peek(1));
      default:
        break;
    }
    if ((peek(1) == 'p' || peek(1) == 'P') && peek(2) == '{') return read_property();
    const bool braced = peek(1) == 'x' && peek(2) == '{';
    const size_t end = braced ? from_.find('}', at_) : at_ + 1;
    copy(end == std::string::npos ? from_.size() : end - at_ + 1);
  }

  void read_class() {
    const size_t begin = at_;
    copy(peek(1) == '^' ? 2 : 1);
    if (peek() == ']') copy(1);
    while (at_ < from_.size() && peek() != ']') {
      if (sees("&&")) refuse(at_, "&& (an intersection of sets) has no counterpart; legal: look-ahead");
      if (sees("[:")) {
        read_named_class();
      } else if (peek() == '[') {
        refuse(at_, "a set inside a set has no counterpart; legal: \\[ for the character");
      } else if (peek() == '\\') {
        read_escape_in_class();
      } else {
        copy(1);
      }
    }
    if (at_ == from_.size()) refuse(begin, "the set that begins here has no end");
    copy(1);
  }

  void read_escape_in_class() {
    if (peek(1) == 'w') return replace_escape(kWordParts);
    if (peek(1) == 'h') return replace_escape(kHexDigits);
    if (peek(1) == 'W' || peek(1) == 'H') refuse(at_, "\\W and \\H inside a set have no counterpart");
    read_common_escape();
  }

  /// \p{Name} or \p{^Name}
  void read_property() {
    const size_t end = from_.find('}', at_);
    if (end == std::string::npos) refuse(at_, "the property that begins here has no end");
    const size_t name_at = at_ + (peek(3) == '^' ? 4 : 3);
    std::string name = from_.substr(name_at, end - name_at);
    for (const PropertyName& property : kPropertyNames) {
      if (property.known == name) name = property.ours;
    }
    if (name.size() > 2 && is_script(name)) name = "sc:" + name;
    copy(name_at - at_);
    put(name + "}", at_);
    at_ = end + 1;
  }

  void read_named_class() {
    const bool negated = peek(2) == '^';
    const size_t name_at = at_ + (negated ? 3 : 2);
    const size_t end = from_.find(":]", at_);
    const std::string name = end == std::string::npos ? "" : from_.substr(name_at, end - name_at);
    for (size_t i = 0; i < kBracketNames; ++i) {
      const std::string property(kPropertyNames[i].ours);
      if (kPropertyNames[i].known != name) continue;
      put((negated ? "\\P{" : "\\p{") + property + "}", at_);
      if (!negated) put(later_members(property), at_);
      at_ = end + 2;
      return;
    }
    refuse(at_, "known named classes are alpha, digit, lower, space, upper");
  }

  const std::string& from_;
  const std::string& place_;
  size_t at_ = 0;
  Translation made_;
  size_t atom_ = 0;             // where the atom before begins in the pattern
  std::vector<size_t> groups_;  // where the open groups begin
};

}  // namespace

Translation translate_oniguruma(const std::string& expression, const std::string& place) {
  return OnigurumaReader(expression, place).read();
}

}  // namespace data
