// defines: read_text_file
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/prepare/document.h"

namespace data {

/// What a text file is read with.
struct TextFileOptions {
  std::string group = "text";      // of every document that does not say its "language"
  int64_t most_bytes = 2ll << 30;  // of one file, unpacked
};

/// Plain text: one document. ".jsonl" and ".json": one JSON object a line, with "text" and, where it has one,
/// "language", which becomes the group; blank lines do not count. Each of them may be packed (".gz"). A byte order mark
/// is taken off. UserError for bytes that are not UTF-8 (file, offset, value) and lines that are not such an object
/// (file, line).
std::vector<SourceDocument> read_text_file(const std::filesystem::path& path, const TextFileOptions& options);

}  // namespace data
