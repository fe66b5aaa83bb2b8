#include "data/sources/file_bytes.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>

#include "data/sources/file_kind.h"
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

/// zlib's inflate state for gzip members.
class Inflater {
 public:
  Inflater(const std::filesystem::path& path, const std::string& packed, int64_t most_bytes)
      : path_(path), packed_bytes_(static_cast<int64_t>(packed.size())), most_bytes_(most_bytes) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    parallel::check_internal(inflateInit2(&stream_, kGzipOnly) == Z_OK, "zlib cannot start");
    input_ = packed;
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&stream_); }

  std::string unpack() {
    while (!input_.empty()) {
      unpack_member();
      inflateReset(&stream_);
      // Padding with zero bytes after the last member is legal.
      input_.remove_prefix(std::min(input_.find_first_not_of('\0'), input_.size()));
    }
    return std::move(text_);
  }

 private:
  void unpack_member() {
    int result = Z_OK;
    while (result != Z_STREAM_END) {
      constexpr size_t kStep = 1 << 18;
      const size_t before = text_.size();
      text_.resize(before + kStep);
      const size_t given = std::min<size_t>(input_.size(), 1 << 30);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input_.data()));
      stream_.avail_in = static_cast<uInt>(given);
      stream_.next_out = reinterpret_cast<Bytef*>(text_.data() + before);
      stream_.avail_out = kStep;
      result = inflate(&stream_, Z_NO_FLUSH);
      text_.resize(before + kStep - stream_.avail_out);
      input_.remove_prefix(given - stream_.avail_in);
      if (result == Z_BUF_ERROR || (result == Z_OK && input_.empty() && stream_.avail_out > 0)) {
        parallel::user_error(path_.string(), ": the gzip file is truncated");
      }
      if (result != Z_OK && result != Z_STREAM_END) {
        parallel::user_error(path_.string(),
                             ": not a gzip file, or damaged: ", stream_.msg ? stream_.msg : "no reason");
      }
      check_size();
    }
  }

  void check_size() const {
    const auto size = static_cast<int64_t>(text_.size());
    if (size > most_bytes_) {
      parallel::user_error(path_.string(), ": unpacks to more than ", most_bytes_, " bytes, the limit for a file");
    }
    if (size > kHarmlessBytes && size / kMostExpansion > packed_bytes_) {
      parallel::user_error(path_.string(), ": ", packed_bytes_, " bytes unpack to more than ", kMostExpansion,
                           " times as many; this is no text");
    }
  }

  const std::filesystem::path& path_;
  int64_t packed_bytes_;
  int64_t most_bytes_;
  z_stream stream_{};
  std::string_view input_;
  std::string text_;
};

}  // namespace

std::string read_bytes(const std::filesystem::path& path, int64_t most_bytes) {
  std::string bytes = read_plain(path, most_bytes);
  const bool named_packed = lower_name(path).ends_with(".gz");
  if (named_packed && bytes.empty()) parallel::user_error(path.string(), ": the gzip file is empty");
  if (named_packed || bytes.starts_with(kGzipMark)) bytes = Inflater(path, bytes, most_bytes).unpack();
  const std::string other = kind_that_is_no_text(bytes);
  if (!other.empty()) parallel::user_error(path.string(), ": ", other);
  return bytes;
}

std::string without_packing(const std::filesystem::path& path) {
  std::string name = lower_name(path);
  if (name.ends_with(".gz")) name.resize(name.size() - 3);
  return name;
}

void require_apart(const std::filesystem::path& output, const std::filesystem::path& source) {
  std::error_code error;
  if (!std::filesystem::equivalent(output, source, error) || error) return;
  parallel::user_error(output.string(), ": is the text ", source.string(), " that is read; choose another name");
}

}  // namespace data
