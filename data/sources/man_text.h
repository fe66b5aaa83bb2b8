// From mandoc's terminal output to prose.
// defines: ManLine, parse_rendered, to_prose
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// One paragraph, heading, label or code line of a page; empty text stands for a blank line.
struct ManLine {
  int64_t indent = 0;  // columns; section headings have 0
  std::string text;    // one space between words, no markup
};

/// Reads `mandoc -T utf8 -O width=<width>` output: takes off overstrikes, escape sequences, page header and footer,
/// box drawing, and joins what was wrapped at `width` columns.
std::vector<ManLine> parse_rendered(std::string_view rendered, int64_t width);

/// The lines without indentation; one blank line at most between them; sections that have no content are left out.
std::string to_prose(const std::vector<ManLine>& lines);

}  // namespace data
