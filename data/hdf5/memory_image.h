// defines: MemoryImage
#pragma once
#include <hdf5.h>

#include <cstddef>

namespace data {

/// The bytes of an HDF5 file that is written in memory, taken over when HDF5 closes it. (H5Fget_file_image cannot
/// serve: in 1.10 it changes the superblock without its checksum.) Must not move while the file is open.
class MemoryImage {
 public:
  MemoryImage() = default;
  MemoryImage(const MemoryImage&) = delete;
  MemoryImage& operator=(const MemoryImage&) = delete;
  ~MemoryImage();

  /// Makes a file that is created with these access properties live in this image; false where HDF5 refuses.
  bool attach(hid_t access_properties);

  /// After the file was closed: its bytes, and how many they are; 0 where it was not closed properly.
  const std::byte* data() const { return bytes_; }
  size_t size() const;

 private:
  static void* grow(void* bytes, size_t size, H5FD_file_image_op_t operation, void* image);
  static herr_t take(void* bytes, H5FD_file_image_op_t operation, void* image);

  std::byte* bytes_ = nullptr;  // malloc'ed; null until taken over
  size_t capacity_ = 0;
};

}  // namespace data
