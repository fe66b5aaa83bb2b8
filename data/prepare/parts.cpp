#include "data/prepare/parts.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>

#include "data/hdf5/checksum.h"
#include "parallel/base/fault.h"

namespace data {
namespace {

constexpr std::string_view kPartMark = "moetrain part 1\n";
constexpr size_t kChecksumDigits = 16;
constexpr const char* kBegun = ".new";  // ends the name of a part that is being written

/// Key and content, as they lie in the file; nothing where it is no whole part.
std::optional<std::pair<std::string, std::string>> read_part_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return std::nullopt;
  std::string bytes(size, '\0');
  if (!std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(size)))
    return std::nullopt;
  if (bytes.size() < kPartMark.size() + 2 * sizeof(int64_t) + kChecksumDigits) return std::nullopt;
  const std::string_view body = std::string_view(bytes).substr(0, bytes.size() - kChecksumDigits);
  if (!body.starts_with(kPartMark)) return std::nullopt;
  if (checksum(body.data(), body.size()) != std::string_view(bytes).substr(body.size())) return std::nullopt;
  PartReader reader(body.substr(kPartMark.size()));
  const std::string key(reader.text());
  return std::pair{key, std::string(reader.text())};
}

}  // namespace

void PartsFolder::write(const std::string& name, const std::string& key, std::string_view content) const {
  PartWriter writer;
  writer.text(key);
  writer.text(content);
  std::string bytes = std::string(kPartMark) + writer.content();
  bytes += checksum(bytes.data(), bytes.size());
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::filesystem::path path = folder_ / name, temporary = folder_ / (name + kBegun);
  std::ofstream file(temporary, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) parallel::user_error(path.string(), ": cannot be written: ", std::strerror(errno));
  std::filesystem::rename(temporary, path, error);
  if (error) parallel::user_error(path.string(), ": cannot be written: ", error.message());
}

std::optional<std::string> PartsFolder::read(const std::string& name, const std::string& key) const {
  auto part = read_part_file(folder_ / name);
  if (!part || part->first != key) return std::nullopt;
  return std::move(part->second);
}

bool PartsFolder::is_outdated(const std::string& name, const std::string& key) const {
  const auto part = read_part_file(folder_ / name);
  return part && part->first != key;
}

void PartsFolder::remove() const {
  std::error_code ignored;  // what is left costs room and no more
  for (const auto& entry : std::filesystem::directory_iterator(folder_, ignored)) {
    std::string begin(kPartMark.size(), '\0');
    std::ifstream(entry.path(), std::ios::binary).read(begin.data(), static_cast<std::streamsize>(begin.size()));
    const bool begun = entry.path().extension() == kBegun;  // by a process that was killed
    if (begun || begin == kPartMark) std::filesystem::remove(entry.path(), ignored);
  }
  std::filesystem::remove(folder_, ignored);  // where nobody else has put something there
}

void PartWriter::text(std::string_view value) {
  number(static_cast<int64_t>(value.size()));
  content_.append(value);
}

std::string_view PartReader::take(size_t size) {
  parallel::check_internal(size <= rest_.size(), "a part of ", size, " bytes, where ", rest_.size(), " are left");
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

int64_t PartReader::number() {
  int64_t value = 0;
  std::memcpy(&value, take(sizeof value).data(), sizeof value);
  return value;
}

std::string_view PartReader::text() { return take(static_cast<size_t>(number())); }

std::function<void(int64_t bytes)> phase_progress(const PrepareOptions& options, const char* phase, int64_t total) {
  if (!options.advance || total == 0) return [](int64_t) {};
  struct State {
    std::mutex mutex;
    int64_t done = 0;
  };
  return [advance = options.advance, phase, total, state = std::make_shared<State>()](int64_t bytes) {
    const std::lock_guard lock(state->mutex);
    state->done += bytes;
    advance({phase, state->done, total});
  };
}

}  // namespace data
