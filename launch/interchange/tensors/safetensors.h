// The safetensors file format: 8 bytes of header length (little endian), a JSON header, the tensors' bytes.
// Source: the safetensors project, README, section "Format".
// defines: TensorView, TensorToWrite, write_safetensors, TensorPlace, SafetensorsFile
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/datasets/mapped_file.h"

namespace launch::interchange {

/// A tensor in somebody else's memory: row-major, without gaps, little endian.
struct TensorView {
  std::string dtype;  // as the format spells it: "F32", "BF16", "F64", ...
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

/// Bytes of one element; a UserError that lists the known types for another name.
int64_t element_bytes(const std::string& dtype);

/// Product of a shape's sizes; a UserError where a size is negative or the product passes 2^62.
int64_t element_count(const std::vector<int64_t>& shape);

/// "[2, 3]"
std::string shape_text(const std::vector<int64_t>& shape);

/// A tensor that is made only when its turn comes, so that a file costs the memory of its largest tensor.
struct TensorToWrite {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::function<void(std::span<std::byte> bytes)> fill;
  bool weight = true;  // else something beside the weights, whose type says nothing of theirs
};

/// Writes `path` (overwriting it) and flushes it to the disk. Wider elements come first, so every tensor is aligned.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors);

/// Where a tensor lies in a file.
struct TensorPlace {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // [bytes from the file's start]
  uint64_t bytes = 0;
};

/// A file opened for reading. Whatever the file claims is checked against its size before memory is asked for:
/// a truncated, foreign or hostile file is a UserError that names the file and what is wrong.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, TensorPlace>& tensors() const { return tensors_; }
  /// Mapped, for as long as this lives. A name that is not in tensors() is a UserError.
  TensorView view(const std::string& name) const;

 private:
  std::filesystem::path path_;
  std::unique_ptr<data::MappedFile> file_;
  std::map<std::string, TensorPlace> tensors_;
};

}  // namespace launch::interchange
