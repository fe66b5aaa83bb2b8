#include "data/sources/man_text.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "data/sources/lines.h"

namespace data {
namespace {

bool continues_character(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

int64_t columns(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return !continues_character(byte); });
}

/// Skips "ESC [ ... letter"; gives the place after it.
size_t after_escape(std::string_view text, size_t at) {
  ++at;
  if (at < text.size() && text[at] == '[') ++at;
  while (at < text.size() && !std::isalpha(static_cast<unsigned char>(text[at])) && text[at] != '\n') ++at;
  return std::min(at + 1, text.size());
}

/// Bold is "x BS x", underlined "_ BS x": the character before a backspace goes.
std::string without_markup(std::string_view rendered) {
  std::string plain;
  plain.reserve(rendered.size());
  for (size_t at = 0; at < rendered.size();) {
    const char c = rendered[at];
    if (c == '\x1B') {
      at = after_escape(rendered, at);
      continue;
    }
    ++at;
    if (c == '\b') {
      while (!plain.empty() && continues_character(plain.back())) plain.pop_back();
      if (!plain.empty() && plain.back() != '\n') plain.pop_back();
    } else if (static_cast<uint8_t>(c) >= 0x20 || c == '\n' || c == '\t') {
      plain.push_back(c);
    }
  }
  return plain;
}

/// Box drawing (U+2500 to U+257F) is the frame of a table, U+FFFD what mandoc could not name.
bool is_decoration(std::string_view character) {
  const bool is_box =
      character.size() == 3 && character.starts_with("\xE2") && (character[1] == '\x94' || character[1] == '\x95');
  return is_box || character == "\xEF\xBF\xBD";
}

/// One space between words (no-break spaces are spaces too), none at the ends, no decoration.
std::string clean_words(std::string_view line) {
  std::string words;
  bool space_due = false;
  for (size_t at = 0; at < line.size();) {
    size_t length = 1;
    while (at + length < line.size() && continues_character(line[at + length])) ++length;
    const std::string_view character = line.substr(at, length);
    at += length;
    if (character == " " || character == "\t" || character == "\xC2\xA0" || is_decoration(character)) {
      space_due = true;
      continue;
    }
    if (space_due && !words.empty()) words.push_back(' ');
    space_due = false;
    words.append(character);
  }
  return words;
}

struct RawLine {
  std::string_view text;
  int64_t indent = 0;
};

std::vector<RawLine> split_lines(std::string_view plain) {
  std::vector<RawLine> lines;
  while (!plain.empty()) {
    const std::string_view line = take_line(plain);
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    lines.push_back({line, static_cast<int64_t>(indent)});
  }
  return lines;
}

bool is_blank(const RawLine& line) { return static_cast<size_t>(line.indent) == line.text.size(); }

/// Takes off blank lines at both ends, then the header and the footer.
void drop_header_and_footer(std::vector<RawLine>& lines) {
  const auto trim = [&] {
    while (!lines.empty() && is_blank(lines.back())) lines.pop_back();
    const auto first = std::find_if_not(lines.begin(), lines.end(), is_blank);
    lines.erase(lines.begin(), first);
  };
  trim();
  if (!lines.empty()) lines.pop_back();
  if (!lines.empty()) lines.erase(lines.begin());
  trim();
}

/// A line was wrapped when the first word of the next one, at the same indentation, would not have fitted any more.
bool was_wrapped(const RawLine& line, const RawLine& next, int64_t width) {
  if (is_blank(next) || next.indent != line.indent) return false;
  const std::string_view words = next.text.substr(static_cast<size_t>(next.indent));
  return columns(line.text) + 1 + columns(words.substr(0, words.find(' '))) > width;
}

}  // namespace

std::vector<ManLine> parse_rendered(std::string_view rendered, int64_t width) {
  const std::string plain = without_markup(rendered);
  std::vector<RawLine> raw = split_lines(plain);
  drop_header_and_footer(raw);
  std::vector<ManLine> lines;
  bool joins = false;
  for (size_t i = 0; i < raw.size(); ++i) {
    std::string words = clean_words(raw[i].text);
    const bool is_text = !words.empty();
    if (joins && is_text) {
      lines.back().text += " " + words;
    } else if (is_text || is_blank(raw[i])) {  // a line of decoration alone leaves nothing
      lines.push_back({raw[i].indent, std::move(words)});
    }
    joins = is_text && i + 1 < raw.size() && was_wrapped(raw[i], raw[i + 1], width);
  }
  return lines;
}

std::string to_prose(const std::vector<ManLine>& lines) {
  std::string prose;
  const std::string* heading = nullptr;  // written only when content follows
  bool blank_due = false;
  for (const ManLine& line : lines) {
    if (line.text.empty()) {
      blank_due = true;
      continue;
    }
    if (line.indent == 0) {
      heading = &line.text;
      blank_due = true;
      continue;
    }
    if (blank_due && !prose.empty()) prose.push_back('\n');
    if (heading != nullptr) prose += *heading + '\n';
    prose += line.text + '\n';
    heading = nullptr;
    blank_due = false;
  }
  return prose;
}

}  // namespace data
