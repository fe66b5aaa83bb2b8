#include "data/sources/man_source.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "data/files/file_bytes.h"
#include "data/sources/child_process.h"
#include "data/sources/lines.h"
#include "data/sources/man_text.h"
#include "data/sources/workers.h"
#include "data/text/utf8.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr int64_t kWidth = 1000;                // columns; mandoc's maximum, so that hardly a paragraph is wrapped
constexpr int64_t kMostPageBytes = 32ll << 20;  // of one page's source

struct ManPage {
  std::filesystem::path path;
  std::string key;
  std::string language;
  bool is_stub = false;
  bool is_unreadable = false;
  std::vector<ManLine> lines;
};

bool is_language(std::string_view name) {
  const size_t letters = std::min(name.find_first_of("_@."), name.size());
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  return (letters == 2 || letters == 3) && name != "man" && std::all_of(name.begin(), name.begin() + letters, is_lower);
}

/// "de" of ".../man/de/man1/ls.1.gz", "en" of ".../man/man1/ls.1.gz".
std::string language_of(const std::filesystem::path& path) {
  const std::string folder = path.parent_path().parent_path().filename().string();
  return is_language(folder) ? folder.substr(0, folder.find('.')) : "en";
}

/// Sections are numbers, or "n" of Tcl and "l" of what is local.
bool is_page(const std::filesystem::path& path) {
  const std::string section = path.parent_path().filename().string();
  const bool numbered = section.size() > 3 && section.starts_with("man") && section[3] >= '0' && section[3] <= '9';
  const bool in_section = numbered || section == "mann" || section == "manl";
  return in_section && path.filename().string().find('.') != std::string::npos;
}

std::vector<ManPage> find_pages(const std::filesystem::path& folder, ManPages& result) {
  std::error_code error;
  std::vector<ManPage> pages;
  for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const bool page = is_page(it->path());
    if (it->is_symlink()) {
      result.symbolic_links += page || it->is_directory();
    } else if (it->is_regular_file() && page) {
      const bool packed = it->path().extension() == ".gz";
      const std::string key = packed ? it->path().stem().string() : it->path().filename().string();
      pages.push_back({it->path(), key, language_of(it->path())});
    } else if (it->is_regular_file()) {
      ++result.other_files;
    }
  }
  if (error) parallel::user_error(folder.string(), ": cannot be listed: ", error.message());
  std::sort(pages.begin(), pages.end(), [](const ManPage& a, const ManPage& b) { return a.path < b.path; });
  return pages;
}

/// Whether the first line that is no comment includes another page instead of being one.
bool is_stub(std::string_view source) {
  while (!source.empty()) {
    const std::string_view line = take_line(source);
    const bool is_comment = line.starts_with(".\\\"") || line.starts_with("'\\\"") || line.empty();
    if (!is_comment) return line.starts_with(".so ");
  }
  return false;
}

void render(ManPage& page, const ManOptions& options) {
  page.is_stub = is_stub(read_bytes(page.path, kMostPageBytes));
  if (page.is_stub) return;
  const std::string width = parallel::concat("width=", kWidth);
  const ChildResult result = run_child({options.mandoc, "-T", "utf8", "-O", width, page.path.string()});
  if (result.end == ChildResult::End::kNotFound) {
    parallel::user_error("'", options.mandoc, "' is needed to read manual pages and is not installed; ",
                         "on Debian: apt-get install mandoc");
  }
  // mandoc exits with 1 to 4 for a page with flaws, which it renders nevertheless; 5 and 6 mean that it could not.
  page.is_unreadable = result.end != ChildResult::End::kExited || result.status > 4 ||
                       valid_utf8_prefix(result.output) != result.output.size();
  if (!page.is_unreadable) page.lines = parse_rendered(result.output, kWidth);
}

/// Empties the long lines that more than kBoilerplatePages pages of one language have; gives their number.
int64_t drop_boilerplate(std::vector<ManPage>& pages) {
  std::map<std::pair<std::string_view, std::string_view>, int64_t> pages_with;
  for (const ManPage& page : pages) {
    std::set<std::string_view> seen;
    for (const ManLine& line : page.lines) {
      if (static_cast<int64_t>(line.text.size()) < kBoilerplateBytes || !seen.insert(line.text).second) continue;
      ++pages_with[{page.language, line.text}];
    }
  }
  // Chosen before anything is emptied, because the keys are views of the lines.
  std::vector<ManLine*> dropped;
  for (ManPage& page : pages) {
    for (ManLine& line : page.lines) {
      const auto found = pages_with.find({page.language, line.text});
      if (found != pages_with.end() && found->second > kBoilerplatePages) dropped.push_back(&line);
    }
  }
  for (ManLine* line : dropped) line->text.clear();
  return static_cast<int64_t>(dropped.size());
}

}  // namespace

ManPages read_man_pages(const std::filesystem::path& folder, const ManOptions& options) {
  if (!std::filesystem::is_directory(folder)) parallel::user_error("there is no folder '", folder.string(), "'");
  ManPages result;
  std::vector<ManPage> pages = find_pages(std::filesystem::canonical(folder), result);
  if (pages.empty()) {
    parallel::user_error("no manual page man/[LANGUAGE/]manS/NAME.S[.gz] anywhere in '", folder.string(), "'");
  }
  for_each_index(static_cast<int64_t>(pages.size()), options.threads,
                 [&](int64_t i) { render(pages[static_cast<size_t>(i)], options); });
  result.boilerplate_lines = drop_boilerplate(pages);
  for (ManPage& page : pages) {
    result.stubs += page.is_stub;
    result.unreadable += page.is_unreadable;
    if (page.is_stub || page.is_unreadable) continue;
    const auto name = std::filesystem::relative(page.path, std::filesystem::canonical(folder)).string();
    result.documents.push_back({name, name, page.key, page.language, to_prose(page.lines)});
  }
  return result;
}

}  // namespace data
