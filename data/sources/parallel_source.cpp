#include "data/sources/parallel_source.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "data/files/file_bytes.h"
#include "data/sources/lines.h"
#include "data/sources/text_source.h"
#include "data/text/utf8.h"
#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"

namespace data {
namespace {

constexpr size_t kLongestLanguage = 32;

/// Where the item LANGUAGE=FILE ends that begins here: at the next comma, unless a longer name is one of a file that
/// exists.
size_t end_of_item(const std::string& set, size_t begin) {
  const size_t first = std::min(set.find(',', begin), set.size());
  const size_t equals = set.find('=', begin);
  if (equals >= first) return first;
  for (size_t end = first;; end = std::min(set.find(',', end + 1), set.size())) {
    std::error_code ignored;
    if (std::filesystem::exists(set.substr(equals + 1, end - equals - 1), ignored)) return end;
    if (end == set.size()) return first;
  }
}

std::vector<ParallelFile> parse_parallel_set(const std::string& set) {
  std::vector<ParallelFile> files;
  std::set<std::string> languages;
  for (size_t begin = 0; begin <= set.size();) {
    const size_t end = end_of_item(set, begin);
    const std::string item = set.substr(begin, end - begin);
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals + 1 == item.size()) {
      parallel::user_error("'", item, "' in the parallel set '", set, "' is no LANGUAGE=FILE; a set is written ",
                           "en=train.en.gz,de=train.de.gz");
    }
    const std::string language = item.substr(0, equals);
    if (!is_language_name(language)) {
      parallel::user_error("'", language, "' in the parallel set '", set, "' is no language name; legal are 1 to ",
                           kLongestLanguage, " letters, digits and '_', such as en or pt_BR");
    }
    if (!languages.insert(language).second) {
      parallel::user_error("the parallel set '", set, "' has the language '", language, "' twice");
    }
    files.push_back({language, item.substr(equals + 1), nullptr, {}});
    begin = end + 1;
  }
  if (files.size() < 2) {
    parallel::user_error("the parallel set '", set, "' has one language; translations take two, such as ",
                         "en=train.en.gz,de=train.de.gz");
  }
  return files;
}

void read_lines(ParallelFile& file, int64_t most_bytes) {
  file.content = std::make_shared<const std::string>(read_bytes(file.path, most_bytes));
  std::string_view rest = *file.content;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  if (is_named_json_lines(file.path) || begins_json_lines(rest)) {
    parallel::user_error(file.path.string(),
                         ": holds JSON; a file of a parallel set is plain text, one sentence a line");
  }
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    if (valid_utf8_prefix(line) != line.size()) {
      parallel::user_error(file.path.string(), ":", file.lines.size() + 1, ": not UTF-8: ", describe_utf8_fault(line),
                           " of the line");
    }
    file.lines.push_back(strip_line(line));
  }
}

void require_equal_lines(const std::vector<ParallelFile>& files) {
  const auto fewer = [](const ParallelFile& a, const ParallelFile& b) { return a.lines.size() < b.lines.size(); };
  const auto shortest = std::min_element(files.begin(), files.end(), fewer);
  const auto longest = std::max_element(files.begin(), files.end(), fewer);
  if (shortest->lines.size() == longest->lines.size()) return;
  std::string counts;
  for (const ParallelFile& file : files) {
    counts += parallel::concat(counts.empty() ? "" : ", ", file.path.string(), " has ", file.lines.size(), " lines");
  }
  parallel::user_error(counts, ": line ", shortest->lines.size() + 1, " of ", longest->path.string(),
                       " has no partner in ", shortest->path.string(),
                       "; line i of each file of a parallel set must be a translation of line i of the others");
}

}  // namespace

std::string_view strip_line(std::string_view line) { return parallel::trimmed(line, " \t\r\v\f"); }

bool is_language_name(std::string_view name) {
  const auto legal = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && name.size() <= kLongestLanguage && std::all_of(name.begin(), name.end(), legal);
}

std::vector<ParallelFile> read_parallel_set(const std::string& set, int64_t most_bytes) {
  std::vector<ParallelFile> files = parse_parallel_set(set);
  for (ParallelFile& file : files) read_lines(file, most_bytes);
  require_equal_lines(files);
  return files;
}

}  // namespace data
