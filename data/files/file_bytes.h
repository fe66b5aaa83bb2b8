// defines: read_bytes, without_packing, require_apart
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace data {

/// The content of a file or pipe (which can be read only once), unpacked where it begins as packed files do or its
/// name ends as theirs (packings()). At most `most_bytes` of it: a file that holds more, a damaged or truncated packed
/// file, one that is packed otherwise, an archive or a document that is no text, and one that cannot be read are
/// UserErrors.
std::string read_bytes(const std::filesystem::path& path, int64_t most_bytes);

/// The file's name in small letters, without the ending of a packing: what tells the kind of its content.
std::string without_packing(const std::filesystem::path& path);

/// UserError where `output` is `source`, by whatever name: writing the one would take the other away.
void require_apart(const std::filesystem::path& output, const std::filesystem::path& source);

}  // namespace data
