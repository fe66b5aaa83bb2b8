#include "data/files/file_bytes.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>

#include "data/files/file_kind.h"
#include "data/files/packing.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

[[noreturn]] void refuse_size(const std::filesystem::path& path, int64_t size, int64_t most_bytes) {
  parallel::user_error(path.string(), ": has ", size, " bytes; at most ", most_bytes, " a file are read");
}

/// Pipes and devices have no size beforehand.
std::string read_to_the_end(const std::filesystem::path& path, int64_t most_bytes) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  constexpr size_t kStep = 1 << 18;
  while (file) {
    const size_t before = bytes.size();
    bytes.resize(before + kStep);
    file.read(bytes.data() + before, kStep);
    bytes.resize(before + static_cast<size_t>(file.gcount()));
    const auto size = static_cast<int64_t>(bytes.size());
    if (size > most_bytes) refuse_size(path, size, most_bytes);
  }
  if (!file.eof()) parallel::user_error(path.string(), ": cannot be read: ", std::strerror(errno));
  return bytes;
}

std::string read_plain(const std::filesystem::path& path, int64_t most_bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return read_to_the_end(path, most_bytes);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) parallel::user_error(path.string(), ": cannot be read: ", error.message());
  if (size > most_bytes) refuse_size(path, size, most_bytes);
  std::ifstream file(path, std::ios::binary);
  std::string bytes(static_cast<size_t>(size), '\0');
  file.read(bytes.data(), size);
  if (!file) parallel::user_error(path.string(), ": cannot be read: ", std::strerror(errno));
  return bytes;
}

std::string lower_name(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return name;
}

}  // namespace

std::string read_bytes(const std::filesystem::path& path, int64_t most_bytes) {
  std::string bytes = read_plain(path, most_bytes);
  const std::string name = lower_name(path);
  for (const Packing& packing : packings()) {
    const bool named = name.ends_with(packing.ending);
    if (named && bytes.empty()) parallel::user_error(path.string(), ": the ", packing.name, " file is empty");
    if (!named && !bytes.starts_with(packing.mark)) continue;
    bytes = packing.unpack(path, bytes, most_bytes);
    break;
  }
  const std::string other = kind_that_is_no_text(bytes);
  if (!other.empty()) parallel::user_error(path.string(), ": ", other);
  return bytes;
}

std::string without_packing(const std::filesystem::path& path) {
  const std::string name = lower_name(path);
  for (const Packing& packing : packings()) {
    if (name.ends_with(packing.ending)) return name.substr(0, name.size() - packing.ending.size());
  }
  return name;
}

void require_apart(const std::filesystem::path& output, const std::filesystem::path& source) {
  std::error_code error;
  if (!std::filesystem::equivalent(output, source, error) || error) return;
  parallel::user_error(output.string(), ": is the text ", source.string(), " that is read; choose another name");
}

}  // namespace data
