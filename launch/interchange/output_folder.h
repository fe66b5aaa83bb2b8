// A folder that appears complete or not at all.
// defines: OutputFile, OutputFolder
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace launch::interchange {

/// A file being written. A failure (full disk, no permission) is a UserError that names the file and the cause.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  /// Flushes to the disk and closes; without it the file must be taken for unfinished.
  void finish();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Files go into a temporary sibling, which commit() renames; a folder that is never committed is removed.
class OutputFolder {
 public:
  /// @pre `target` does not exist or is an empty folder, and its parent is a folder; else UserError.
  explicit OutputFolder(const std::filesystem::path& target);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  /// Where `name` is to be written for now.
  std::filesystem::path path(std::string_view name) const { return temporary_ / name; }
  void write_text(std::string_view name, std::string_view text) const;
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
};

}  // namespace launch::interchange
