// defines: RunLock: one process owns a run folder
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace launch {

/// Folders that were made for something that may still be refused: removed again where nothing came into them.
class MadeFolders {
 public:
  /// Makes the folder and those above it that are not there. UserError where that fails.
  explicit MadeFolders(const std::filesystem::path& folder);
  ~MadeFolders();
  MadeFolders(const MadeFolders&) = delete;
  MadeFolders& operator=(const MadeFolders&) = delete;

 private:
  std::vector<std::filesystem::path> made_;  // outermost first
};

/// While it lives no other process, on this host or another one that shares the folder, gets a RunLock of it. The file
/// `lock` says who it is, for people; what keeps others out is the kernel's lock on it (flock, which NFS passes on),
/// and that ends with the process, however it ends. One rank of a run takes it.
class RunLock {
 public:
  /// Makes the folder where it is not there. UserError, naming host and process, where another one holds it and still
  /// does after half a second.
  explicit RunLock(const std::filesystem::path& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// A warning where the folder's file system knows no locks, so that nothing is kept out; else empty.
  const std::string& warning() const { return warning_; }

 private:
  bool try_lock();
  void write_owner() const;

  MadeFolders folders_;
  std::filesystem::path path_;
  int file_ = -1;
  std::string warning_;
};

}  // namespace launch
