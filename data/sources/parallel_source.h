// defines: ParallelFile, read_parallel_set, strip_line, is_language_name
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// One language of a set: its lines, without the white space around them.
struct ParallelFile {
  std::string language;
  std::filesystem::path path;
  std::shared_ptr<const std::string> content;  // what the lines point into
  std::vector<std::string_view> lines;
};

/// Reads "en=train.en.gz,de=train.de.gz": line i of each file is a translation of line i of the others. Plain text or
/// packed (read_bytes); lines end with \n or \r\n; a byte order mark is taken off. A comma ends a file's name, unless
/// there is a file whose name goes on. UserError for a set that is not written like this, has fewer than two languages
/// or one twice, or is of JSON lines; a file that cannot be read, has more than `most_bytes` or a
/// line that is not UTF-8 (file, line); and different numbers of lines (the first line without partner).
std::vector<ParallelFile> read_parallel_set(const std::string& set, int64_t most_bytes);

/// A line as a sentence is kept: without the white space around it.
std::string_view strip_line(std::string_view line);

/// Letters, digits and '_', at most 32: no '-', which stands between the languages of a direction ("en-pt_BR").
bool is_language_name(std::string_view name);

}  // namespace data
