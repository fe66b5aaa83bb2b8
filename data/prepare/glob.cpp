#include "data/prepare/glob.h"

#include <fnmatch.h>

#include <algorithm>
#include <system_error>

#include "parallel/base/fault.h"

namespace data {
namespace {

namespace fs = std::filesystem;
using Parts = std::vector<std::string>;

bool has_wildcard(const std::string& part) { return part.find_first_of("*?[") != std::string::npos; }

/// Entries of a folder, sorted; an unreadable folder is a UserError, because silently less text is worse.
std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator it(folder.empty() ? fs::path(".") : folder, error), end; !error && it != end;) {
    entries.push_back(*it);
    it.increment(error);
  }
  if (error) parallel::user_error(folder.string(), ": cannot be listed: ", error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

void expand(const fs::path& folder, const Parts& parts, size_t at, std::vector<fs::path>& files);

/// '**': no folder, or one more folder and '**' again.
void expand_deep(const fs::path& folder, const Parts& parts, size_t at, std::vector<fs::path>& files) {
  expand(folder, parts, at + 1, files);
  for (const fs::directory_entry& entry : entries_of(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_symlink() || !entry.is_directory() || name.starts_with('.')) continue;
    expand_deep(folder / name, parts, at, files);
  }
}

void expand(const fs::path& folder, const Parts& parts, size_t at, std::vector<fs::path>& files) {
  std::error_code ignored;
  if (at == parts.size()) {
    if (fs::is_regular_file(folder, ignored)) files.push_back(folder);
    return;
  }
  if (parts[at] == "**" && at + 1 < parts.size()) return expand_deep(folder, parts, at, files);
  if (!has_wildcard(parts[at])) return expand(folder / parts[at], parts, at + 1, files);
  if (!fs::is_directory(folder.empty() ? fs::path(".") : folder, ignored)) return;
  for (const fs::directory_entry& entry : entries_of(folder)) {
    const std::string name = entry.path().filename().string();
    if (::fnmatch(parts[at].c_str(), name.c_str(), FNM_PERIOD) == 0) expand(folder / name, parts, at + 1, files);
  }
}

}  // namespace

std::vector<fs::path> expand_glob(const std::string& pattern) {
  Parts parts;
  for (const fs::path& part : fs::path(pattern)) parts.push_back(part.string());
  if (!parts.empty() && parts.back() == "**") parts.push_back("*");
  std::vector<fs::path> files;
  if (!parts.empty()) expand({}, parts, 0, files);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  if (!files.empty()) return files;
  std::error_code ignored;
  if (fs::is_directory(pattern, ignored)) {
    parallel::user_error("'", pattern, "' is a folder; write '", (fs::path(pattern) / "**" / "*.txt").string(),
                         "' for the text files in it");
  }
  if (!std::any_of(parts.begin(), parts.end(), has_wildcard)) parallel::user_error("there is no file '", pattern, "'");
  parallel::user_error("no file matches '", pattern, "' (looked from ", fs::current_path().string(), ")");
}

}  // namespace data
