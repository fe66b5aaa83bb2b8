// HDF5 files of flat arrays and texts, written once and read with distrust.
// defines: ElementType, element_type, DatasetPlace, Hdf5File
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace data {

/// Stored little-endian.
enum class ElementType { kUint8, kUint16, kUint32, kInt32, kInt64, kFloat64 };

int64_t bytes_of(ElementType type);
std::string to_string(ElementType type);  // "uint16"

template <class T>
constexpr ElementType element_type();
template <>
constexpr ElementType element_type<uint8_t>() {
  return ElementType::kUint8;
}
template <>
constexpr ElementType element_type<uint16_t>() {
  return ElementType::kUint16;
}
template <>
constexpr ElementType element_type<uint32_t>() {
  return ElementType::kUint32;
}
template <>
constexpr ElementType element_type<int32_t>() {
  return ElementType::kInt32;
}
template <>
constexpr ElementType element_type<int64_t>() {
  return ElementType::kInt64;
}
template <>
constexpr ElementType element_type<double>() {
  return ElementType::kFloat64;
}

class MemoryImage;

/// Where the elements of a dataset lie, so that they can be mapped instead of read.
struct DatasetPlace {
  ElementType type = ElementType::kUint8;
  int64_t count = 0;
  int64_t offset = 0;  // bytes from the beginning of the file; 0 where count is 0
};

/// One open file of contiguous one-dimensional datasets. Every dataset carries its checksum() as the attribute
/// "xxh64", verified by read(). Every failure is a UserError that names file and object, what was found and what was
/// expected. Nothing is allocated before the size was checked against the file's size and the caller's limit; links out
/// of the file are refused. Names are paths such as "/documents/tokens". HDF5 keeps global state: one thread at a time.
class Hdf5File {
 public:
  /// A new file; it must not exist yet. The same writes give the same bytes (no time stamps). The content is held in
  /// memory, and close() puts it on the disk by plain writes: HDF5 1.10 cannot let go of a file whose disk is full and
  /// crashes when the process ends.
  static Hdf5File create(const std::filesystem::path& path);
  /// An existing file, for reading.
  static Hdf5File open(const std::filesystem::path& path);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&& other) = delete;
  ~Hdf5File();  // closes; only close() reports what went wrong

  void create_group(const std::string& name);
  template <class T>
  void write(const std::string& name, const std::vector<T>& values) {
    write_elements(name, element_type<T>(), static_cast<int64_t>(values.size()), values.data());
  }
  /// Bytes of any kind, as a dataset of uint8.
  void write_blob(const std::string& name, std::string_view bytes);
  /// A text of at most 60 KiB beside a group or dataset.
  void write_attribute(const std::string& object, const std::string& name, const std::string& text);
  /// Everything is on the disk once it returns. @pre: made by create(), called once
  void close();

  /// Whether there is a group or dataset of this name at the top level ("/alignment").
  bool has(const std::string& name) const;
  DatasetPlace place(const std::string& name) const;
  /// The whole dataset, at most `most` elements.
  template <class T>
  std::vector<T> read(const std::string& name, int64_t most) const {
    const DatasetPlace found = checked_place(name, element_type<T>(), most);
    std::vector<T> values(static_cast<size_t>(found.count));
    read_elements(name, found, values.data());
    return values;
  }
  std::string read_blob(const std::string& name, int64_t most_bytes) const;
  std::string attribute(const std::string& object, const std::string& name) const;
  /// The checksum stored beside a dataset, for a caller who maps its elements.
  std::string stored_checksum(const std::string& name) const { return attribute(name, "xxh64"); }

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit Hdf5File(std::filesystem::path path);
  void write_elements(const std::string& name, ElementType type, int64_t count, const void* values);
  DatasetPlace checked_place(const std::string& name, ElementType type, int64_t most) const;
  void read_elements(const std::string& name, const DatasetPlace& place, void* values) const;
  void require_inside(const std::string& name) const;

  std::filesystem::path path_;
  std::unique_ptr<MemoryImage> image_;  // of a file being written
  int64_t id_ = -1;                     // HDF5's handle; -1 when closed
  int target_ = -1;                     // file descriptor that close() writes to; -1 when opened for reading
};

}  // namespace data
