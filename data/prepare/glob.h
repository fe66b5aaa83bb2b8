// defines: expand_glob
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace data {

/// The regular files that match, sorted by path. '*', '?' and '[...]' match inside one name (never a leading dot),
/// '**' matches any number of folders (symbolic links to folders are not followed there). UserError where nothing
/// matches, or where a pattern without wildcards names a folder.
std::vector<std::filesystem::path> expand_glob(const std::string& pattern);

}  // namespace data
