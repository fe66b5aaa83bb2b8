// defines: TextFileOptions, read_text_file, begins_json_lines, is_named_json_lines
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/sources/document.h"

namespace data {

/// What a text file is read with.
struct TextFileOptions {
  std::string group = "text";      // of every document that does not say its "language"
  int64_t most_bytes = 2ll << 30;  // of one file, unpacked
  std::string field = "text";      // of JSON lines: the member that is the text; "a.b": the member b of the object a
  bool conversations = false;      // whether lines may hold them (read_conversation) in place of a text; else refused
  int64_t threads = 1;             // that read the lines of a file; 0: one per core
};

/// Plain text: one document. JSON lines: one JSON object a line, with `field` or a conversation and, where it has one,
/// "language" or "label", which becomes the group; blank lines do not count. They are known by their name (".jsonl",
/// ".ndjson",
/// ".jsonlines", ".ldjson", ".jl", ".json", in small letters or capitals) or by their first line. Each of them may be
/// packed, as read_bytes says. Parquet: a document of each row that has a text in the column `field`, or in a file
/// without it a conversation (lists of structs, or `messages` as text of JSON), groups as of JSON lines. A byte order
/// mark is taken off. `notes` gets a sentence where the content decided, and not the name. UserError for bytes that are
/// not UTF-8 (file, offset, value, line) and lines that are not such an object (file, line, column).
std::vector<SourceDocument> read_text_file(const std::filesystem::path& path, const TextFileOptions& options,
                                           std::vector<std::string>* notes = nullptr);

/// Whether the first line that is not blank is a JSON object with a `field` that is a string, or with a
/// conversation: no plain text begins so.
bool begins_json_lines(std::string_view content, const std::string& field = "text");

/// Whether the name, packed or not, is one of JSON lines.
bool is_named_json_lines(const std::filesystem::path& path);

}  // namespace data
