#include "data/sources/glob.h"

#include <fnmatch.h>

#include <algorithm>
#include <system_error>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace data {
namespace {

namespace fs = std::filesystem;
using Parts = std::vector<std::string>;

bool has_wildcard(const std::string& part) { return part.find_first_of("*?[") != std::string::npos; }

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

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

/// What a walk along a pattern meets.
struct Found {
  std::vector<fs::path> files;
  std::vector<fs::path> folders;  // match the pattern, and no '**' reads the files in them
  std::vector<fs::path> links;    // to folders, where '**' looked
  std::vector<fs::path> others;   // match the pattern: broken links, pipes, sockets
};

void expand(const fs::path& folder, const Parts& parts, size_t at, Found& found);

/// '**': no folder, or one more folder and '**' again.
void expand_deep(const fs::path& folder, const Parts& parts, size_t at, Found& found) {
  expand(folder, parts, at + 1, found);
  for (const fs::directory_entry& entry : entries_of(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') || !is_folder(entry.path())) continue;
    if (entry.is_symlink()) {
      found.links.push_back(folder / name);
    } else {
      expand_deep(folder / name, parts, at, found);
    }
  }
}

void add_match(const fs::path& path, const Parts& parts, Found& found) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return found.files.push_back(path);
  const bool walked = parts.size() > 1 && parts[parts.size() - 2] == "**";  // the files in it match too
  if (is_folder(path)) return walked ? void() : found.folders.push_back(path);
  if (fs::is_symlink(path, ignored) || is_there(path)) found.others.push_back(path);
}

void expand(const fs::path& folder, const Parts& parts, size_t at, Found& found) {
  if (at == parts.size()) return add_match(folder, parts, found);
  if (parts[at] == "**" && at + 1 < parts.size()) return expand_deep(folder, parts, at, found);
  if (!has_wildcard(parts[at]) || is_there(folder / parts[at])) return expand(folder / parts[at], parts, at + 1, found);
  if (!is_folder(folder.empty() ? fs::path(".") : folder)) return;
  for (const fs::directory_entry& entry : entries_of(folder)) {
    const std::string name = entry.path().filename().string();
    if (::fnmatch(parts[at].c_str(), name.c_str(), FNM_PERIOD) == 0) expand(folder / name, parts, at + 1, found);
  }
}

void sort_unique(std::vector<fs::path>& paths) {
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
}

std::string list_of(std::vector<fs::path> paths) {
  sort_unique(paths);
  std::vector<std::string> names;
  for (const fs::path& path : paths) names.push_back(path.string());
  return parallel::quote_some(names);
}

std::vector<std::string> say_not_read(const std::string& pattern, const Found& found) {
  std::vector<std::string> sentences;
  if (!found.folders.empty()) {
    sentences.push_back(parallel::concat("Not read, because '", pattern, "' matches folders and not what is in them ('",
                                         (fs::path(pattern).parent_path() / "**" / "*").string(),
                                         "' would): ", list_of(found.folders), "."));
  }
  if (!found.links.empty()) {
    sentences.push_back("Not read, because '**' does not follow links to folders: " + list_of(found.links) + ".");
  }
  if (!found.others.empty()) {
    sentences.push_back("Not read, because they are broken links or no regular files: " + list_of(found.others) + ".");
  }
  return sentences;
}

[[noreturn]] void refuse(const std::string& pattern, const Parts& parts) {
  if (is_folder(pattern)) {
    parallel::user_error("'", pattern, "' is a folder; write '", (fs::path(pattern) / "**" / "*.txt").string(),
                         "' for the text files in it");
  }
  std::error_code ignored;
  if (fs::is_symlink(pattern, ignored)) {
    parallel::user_error("'", pattern, "' is a broken link: there is no file '",
                         fs::read_symlink(pattern, ignored).string(), "'");
  }
  if (!std::any_of(parts.begin(), parts.end(), has_wildcard)) parallel::user_error("there is no file '", pattern, "'");
  parallel::user_error("no file matches '", pattern, "' (looked from ", fs::current_path().string(), ")");
}

}  // namespace

std::vector<fs::path> expand_glob(const std::string& pattern, std::vector<std::string>* not_read) {
  if (is_there(pattern) && !is_folder(pattern)) return {pattern};
  Parts parts;
  for (const fs::path& part : fs::path(pattern)) parts.push_back(part.string());
  if (!parts.empty() && parts.back() == "**") parts.push_back("*");
  Found found;
  if (!parts.empty()) expand({}, parts, 0, found);
  if (found.files.empty()) refuse(pattern, parts);
  sort_unique(found.files);
  if (not_read != nullptr) {
    for (std::string& sentence : say_not_read(pattern, found)) not_read->push_back(std::move(sentence));
  }
  return found.files;
}

}  // namespace data
