// defines: TextFiles: the files that --text names, each read once
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "data/prepare/parts.h"
#include "data/prepare/team.h"
#include "data/sources/document.h"

namespace data {

/// Each member of the team reads some of the files and leaves its documents as parts; the first one puts them together
/// in the order of the files' names, whoever read them.
class TextFiles {
 public:
  /// Of options.text; `notes` gets what was matched and is not read. UserError for a pattern without a file, and where
  /// the output is one of them.
  TextFiles(const PrepareOptions& options, std::vector<std::string>* notes);

  bool empty() const { return files_.empty(); }
  int64_t count() const { return static_cast<int64_t>(files_.size()); }
  int64_t bytes() const;  // of files, as they lie on the disk

  /// This reader's files into parts, those left out whose part is there; that one has changed since its part was
  /// made is a note of it. UserError as read_text_file; the other files of this reader have been read by then.
  void read_share(const PartsFolder& parts, const PrepareTeam& team) const;
  /// Of all files; from the parts where they are given.
  std::vector<SourceDocument> documents(const PartsFolder* parts, std::vector<std::string>* notes) const;

 private:
  const PrepareOptions& options_;
  std::vector<std::filesystem::path> files_;  // sorted, each once
};

}  // namespace data
