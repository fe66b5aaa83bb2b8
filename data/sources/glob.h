// defines: expand_glob
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace data {

/// The files of a pattern, sorted by path. What exists by that very name is that file, also a pipe ('<(...)') and also
/// where the name has brackets or stars in it; the same goes for each folder on the way. Otherwise '*', '?' and '[...]'
/// match regular files, inside one name (never a leading dot), and '**' matches any number of folders. `not_read` gets
/// a sentence for what matches and is no file to read: folders, links to folders under '**' (they may go round in
/// circles), broken links. UserError where nothing matches, or where a pattern without wildcards names a folder.
std::vector<std::filesystem::path> expand_glob(const std::string& pattern,
                                               std::vector<std::string>* not_read = nullptr);

}  // namespace data
