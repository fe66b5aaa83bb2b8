// defines: MappedFile
#pragma once
#include <cstddef>
#include <filesystem>

namespace data {

/// A file's bytes in the address space, read-only; pages come from disk when touched and are shared by all processes
/// of a host, and go where memory is short. The file must not shrink while it is mapped (finished token files never
/// change).
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);  // UserError where it cannot be opened or mapped
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// What is read next is one pass from front to back, or single places: the kernel then reads ahead far, or not at all
  /// (a fault otherwise brings 128 KiB in, for a window of some hundred bytes). Pages that a pass has left are given
  /// up; the kernel still has them where there is room.
  void expect_pass() const;
  void expect_random_places() const;
  /// Begins to bring in the pages of these bytes, without waiting.
  void will_read(const std::byte* first, size_t size) const;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace data
