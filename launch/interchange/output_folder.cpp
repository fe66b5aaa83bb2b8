#include "launch/interchange/output_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "parallel/base/fault.h"

namespace launch::interchange {
namespace {

[[noreturn]] void cannot_write(const std::filesystem::path& path, int cause) {
  parallel::user_error("cannot write ", path.string(), ": ", std::generic_category().message(cause));
}

/// "out/" and "out/." name the folder "out".
std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
  const std::filesystem::path absolute = std::filesystem::absolute(path).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

void check_free(const std::filesystem::path& target) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(target, error);
  if (!std::filesystem::exists(status)) return;
  if (!std::filesystem::is_directory(status)) {
    parallel::user_error(target.string(), " exists and is not a folder; name a folder that does not exist yet");
  }
  if (!std::filesystem::is_empty(target, error) || error) {
    parallel::user_error("folder ", target.string(), " is not empty; name one that does not exist yet, or empty it");
  }
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path) : path_(path) {
  descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) cannot_write(path_, errno);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  constexpr size_t kLargestWrite = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kLargestWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) cannot_write(path_, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::finish() {
  if (fsync(descriptor_) != 0) cannot_write(path_, errno);
  if (close(std::exchange(descriptor_, -1)) != 0) cannot_write(path_, errno);
}

OutputFolder::OutputFolder(const std::filesystem::path& target) : target_(without_trailing_slash(target)) {
  check_free(target_);
  if (!std::filesystem::is_directory(target_.parent_path())) {
    parallel::user_error("folder ", target_.parent_path().string(), ", in which ", target_.filename().string(),
                         " would be made, does not exist");
  }
  temporary_ = target_.parent_path() / ("." + target_.filename().string() + ".partial-" + std::to_string(getpid()));
  if (mkdir(temporary_.c_str(), 0777) != 0) cannot_write(temporary_, errno);
}

OutputFolder::~OutputFolder() {
  if (temporary_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(temporary_, ignored);
}

void OutputFolder::write_text(std::string_view name, std::string_view text) const {
  OutputFile file(path(name));
  file.write(std::as_bytes(std::span(text)));
  file.finish();
}

void OutputFolder::commit() {
  // rename() replaces an empty folder and refuses one that has been filled meanwhile.
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) cannot_write(target_, errno);
  temporary_.clear();
}

}  // namespace launch::interchange
