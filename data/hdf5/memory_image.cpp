#include "data/hdf5/memory_image.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace data {

MemoryImage::~MemoryImage() { std::free(bytes_); }

void* MemoryImage::grow(void* bytes, size_t size, H5FD_file_image_op_t, void* image) {
  void* grown = std::realloc(bytes, size);
  if (grown != nullptr) static_cast<MemoryImage*>(image)->capacity_ = size;
  return grown;
}

herr_t MemoryImage::take(void* bytes, H5FD_file_image_op_t operation, void* image) {
  if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
    static_cast<MemoryImage*>(image)->bytes_ = static_cast<std::byte*>(bytes);
  } else {
    std::free(bytes);
  }
  return 0;
}

bool MemoryImage::attach(hid_t access_properties) {
  constexpr size_t kGrowth = 16 << 20;
  H5FD_file_image_callbacks_t callbacks{};
  callbacks.image_malloc = [](size_t size, H5FD_file_image_op_t operation, void* image) {
    return grow(nullptr, size, operation, image);
  };
  callbacks.image_memcpy = [](void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
    return std::memcpy(to, from, size);
  };
  callbacks.image_realloc = grow;
  callbacks.image_free = take;
  callbacks.udata_copy = [](void* image) { return image; };
  callbacks.udata_free = [](void*) -> herr_t { return 0; };
  callbacks.udata = this;
  return H5Pset_fapl_core(access_properties, kGrowth, /*backing_store=*/false) >= 0 &&
         H5Pset_file_image_callbacks(access_properties, &callbacks) >= 0;
}

size_t MemoryImage::size() const {
  // Superblock of version 2 and 3: the end-of-file address is the 8 bytes at 28. The memory itself is rounded up.
  constexpr size_t kVersionAt = 8, kEndAt = 28;
  if (bytes_ == nullptr || capacity_ < kEndAt + 8 || static_cast<uint8_t>(bytes_[kVersionAt]) < 2) return 0;
  uint64_t end = 0;
  std::memcpy(&end, bytes_ + kEndAt, sizeof end);
  return end <= capacity_ ? end : 0;
}

}  // namespace data
