// defines: PartsFolder, PartWriter, PartReader, phase_progress: what is finished of a token file before it is whole
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "data/prepare/prepare.h"

namespace data {

/// A folder beside the output. A part is written under a temporary name and renamed, with a key that says what it was
/// made from and a checksum: what is there, of its key and whole was finished, by whichever process and run.
class PartsFolder {
 public:
  explicit PartsFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// UserError where the disk is full or the folder not writable.
  void write(const std::string& name, const std::string& key, std::string_view content) const;
  /// Nothing where it is absent, damaged or of another key.
  std::optional<std::string> read(const std::string& name, const std::string& key) const;
  /// Whether there is a part of this name, of another key.
  bool is_outdated(const std::string& name, const std::string& key) const;
  /// The parts, and the folder unless something else is in it.
  void remove() const;

 private:
  std::filesystem::path folder_;
};

/// The content of a part: numbers and texts, one after another.
class PartWriter {
 public:
  void number(int64_t value) { content_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void text(std::string_view value);
  const std::string& content() const { return content_; }

 private:
  std::string content_;
};

/// @pre what a PartWriter wrote, in its order
class PartReader {
 public:
  explicit PartReader(std::string_view content) : rest_(content) {}
  int64_t number();
  std::string_view text();
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view take(size_t size);
  std::string_view rest_;
};

/// Tells options.advance how far a phase of `total` bytes is, as any number of threads add to it. Callers whose share
/// it is take it for the others' too.
std::function<void(int64_t bytes)> phase_progress(const PrepareOptions& options, const char* phase, int64_t total);

}  // namespace data
