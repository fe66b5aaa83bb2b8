#include "launch/toml/toml_text.h"

#include <array>
#include <charconv>
#include <cstdint>

namespace launch {
namespace {

std::string escaped(char c) {
  constexpr std::string_view kSpecial = "\"\\\b\t\n\f\r", kLetters = "\"\\btnfr";
  if (const size_t at = kSpecial.find(c); at != std::string_view::npos) return {'\\', kLetters[at]};
  const auto code = static_cast<unsigned char>(c);
  if (code >= 0x20 && code != 0x7F) return {c};
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'\\', 'u', '0', '0', kDigits[code >> 4], kDigits[code & 15]};
}

struct TomlWriter {
  std::string operator()(const int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::string* value) const { return quoted_text(*value); }
  std::string operator()(const parallel::EnumValue* value) const { return quoted_text(value->name()); }
  std::string operator()(const parallel::Span* value) const { return quoted_text(to_string(*value)); }

  std::string operator()(const double* value) const {
    const std::string text = shortest_text(*value);
    // "2" would be an integer, and "-0" would lose its sign; "inf", "nan" and exponents are floats as they are.
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
  }

  std::string operator()(const std::vector<int64_t>* value) const {
    std::string text;
    for (const int64_t element : *value) text += (text.empty() ? "" : ", ") + std::to_string(element);
    return "[" + text + "]";
  }

  std::string operator()(const parallel::Weight* value) const {
    return value->has_window() ? quoted_text(to_string(*value)) : (*this)(&value->value);
  }
};

}  // namespace

std::string toml_text(const parallel::FieldPointer& value) { return std::visit(TomlWriter{}, value); }

std::string quoted_text(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) result += escaped(c);
  return result + "\"";
}

std::string shortest_text(double value) {
  std::array<char, 32> buffer;  // the longest shortest form has 24 characters
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

}  // namespace launch
