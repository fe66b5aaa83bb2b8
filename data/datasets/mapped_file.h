// defines: MappedFile
#pragma once
#include <cstddef>
#include <filesystem>

namespace data {

/// A file's bytes in the address space, read-only; pages come from disk when touched and are shared by all processes
/// of a host. The file must not shrink while it is mapped (finished token files never change).
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);  // UserError where it cannot be opened or mapped
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace data
