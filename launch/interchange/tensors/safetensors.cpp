#include "launch/interchange/tensors/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "launch/interchange/output_folder.h"
#include "launch/interchange/tensors/json_object.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/printable.h"

namespace launch::interchange {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files hold little-endian numbers");

constexpr uint64_t kLongestHeader = 100'000'000;  // [bytes] the limit of the reference implementation
constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kHeaderAlignment = 8;

const std::map<std::string, int64_t>& known_dtypes() {
  static const std::map<std::string, int64_t> bytes = {
      {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},  {"I32", 4},     {"I16", 2},    {"I8", 1},
      {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  return bytes;
}

uint64_t tensor_bytes(const std::string& dtype, const std::vector<int64_t>& shape) {
  const int64_t width = element_bytes(dtype);
  return static_cast<uint64_t>(element_count(shape)) * static_cast<uint64_t>(width);
}

std::string header_text(const std::vector<const TensorToWrite*>& tensors) {
  LargeJson header;
  header["__metadata__"]["format"] = "pt";  // transformers refuses a file without it
  uint64_t offset = 0;
  for (const TensorToWrite* tensor : tensors) {
    parallel::check_internal(!header.contains(tensor->name), "tensor '", tensor->name, "' would be written twice");
    const uint64_t end = offset + tensor_bytes(tensor->dtype, tensor->shape);
    header[tensor->name] = {{"dtype", tensor->dtype}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  return text;
}

/// The whole numbers of a JSON array, none negative; false where it is anything else.
bool read_numbers(const LargeJson& array, std::vector<int64_t>& numbers) {
  if (!array.is_array()) return false;
  for (const LargeJson& number : array) {
    if (!number.is_number_unsigned() || number.get<uint64_t>() > uint64_t{1} << 48) return false;
    numbers.push_back(number.get<int64_t>());
  }
  return true;
}

TensorPlace parse_tensor(const std::string& place, const LargeJson& entry, uint64_t data_bytes) {
  TensorPlace tensor;
  std::vector<int64_t> offsets;
  const bool well_formed = entry.is_object() && entry.contains("dtype") && entry["dtype"].is_string() &&
                           entry.contains("shape") && read_numbers(entry["shape"], tensor.shape) &&
                           entry.contains("data_offsets") && read_numbers(entry["data_offsets"], offsets) &&
                           offsets.size() == 2;
  if (!well_formed) parallel::user_error(place, ": its entry needs dtype, shape and data_offsets [begin, end]");
  tensor.dtype = entry["dtype"].get<std::string>();
  tensor.offset = static_cast<uint64_t>(offsets[0]);
  const auto end = static_cast<uint64_t>(offsets[1]);
  if (end < tensor.offset || end > data_bytes) {
    parallel::user_error(place, ": data_offsets [", offsets[0], ", ", offsets[1], "] do not lie in the file's ",
                         data_bytes, " bytes of data");
  }
  tensor.bytes = end - tensor.offset;
  try {
    const uint64_t needed = tensor_bytes(tensor.dtype, tensor.shape);
    if (needed != tensor.bytes) {
      parallel::user_error("shape ", shape_text(tensor.shape), " of ", tensor.dtype, " needs ", needed,
                           " bytes, its data_offsets hold ", tensor.bytes);
    }
  } catch (const parallel::UserError& error) {
    parallel::user_error(place, ": ", error.what());
  }
  return tensor;
}

/// The tensors must cover the data exactly: what no tensor owns, or two own, is the mark of a damaged file.
void check_coverage(const std::filesystem::path& path, const std::map<std::string, TensorPlace>& tensors,
                    uint64_t data_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [name, tensor] : tensors) ranges.emplace_back(tensor.offset, tensor.bytes);
  std::sort(ranges.begin(), ranges.end());
  uint64_t covered = 0;
  for (const auto& [offset, bytes] : ranges) {
    if (offset != covered) {
      parallel::user_error(path.string(), ": tensors overlap or leave a gap at data byte ", std::min(offset, covered));
    }
    covered += bytes;
  }
  if (covered != data_bytes) {
    parallel::user_error(path.string(), ": the tensors cover ", covered, " of ", data_bytes, " bytes of data");
  }
}

}  // namespace

int64_t element_bytes(const std::string& dtype) {
  const auto found = known_dtypes().find(dtype);
  if (found != known_dtypes().end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, bytes] : known_dtypes()) names.push_back(name);
  parallel::user_error("unknown dtype '", dtype, "'; known: ", parallel::list_names(names));
}

int64_t element_count(const std::vector<int64_t>& shape) {
  constexpr int64_t kLargest = int64_t{1} << 58;  // so that the bytes, too, stay below 2^62
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || (size > 0 && count > kLargest / size)) {
      parallel::user_error("shape ", shape_text(shape), " holds no number of elements that fits");
    }
    count *= size;
  }
  return count;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors) {
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    return element_bytes(a->dtype) > element_bytes(b->dtype);
  });
  const std::string header = header_text(order);
  const uint64_t length = header.size();
  OutputFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  std::vector<std::byte> bytes;
  for (const TensorToWrite* tensor : order) {
    bytes.assign(tensor_bytes(tensor->dtype, tensor->shape), std::byte{0});
    tensor->fill(bytes);
    file.write(bytes);
  }
  file.finish();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  std::error_code error;
  const uint64_t file_bytes = std::filesystem::file_size(path, error);
  if (error) parallel::user_error(path.string(), ": cannot be opened for reading");
  if (file_bytes < kLengthBytes) {
    parallel::user_error(path.string(), ": too short (", file_bytes, " bytes) for a safetensors file");
  }
  file_ = std::make_unique<data::MappedFile>(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file_->data(), kLengthBytes);
  if (header_bytes > kLongestHeader || header_bytes > file_->size() - kLengthBytes) {
    parallel::user_error(path.string(), ": claims a header of ", header_bytes, " bytes in a file of ", file_->size(),
                         "; truncated, or not a safetensors file");
  }
  const std::string text(reinterpret_cast<const char*>(file_->data() + kLengthBytes), header_bytes);
  const uint64_t data_start = kLengthBytes + header_bytes, data_bytes = file_->size() - data_start;
  const LargeJson header = parse_large_object(text, path.string() + ": its header");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    tensors_[name] = parse_tensor(path.string() + ": tensor '" + parallel::printable(name) + "'", entry, data_bytes);
  }
  check_coverage(path, tensors_, data_bytes);
  for (auto& [name, tensor] : tensors_) tensor.offset += data_start;
}

TensorView SafetensorsFile::view(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) parallel::user_error(path_.string(), ": holds no tensor '", name, "'");
  const TensorPlace& place = found->second;
  return {.dtype = place.dtype, .shape = place.shape, .data = file_->data() + place.offset};
}

}  // namespace launch::interchange
