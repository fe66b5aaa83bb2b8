#include "launch/runs/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "launch/runs/clock.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::user_error;

/// What the owner wrote, or something where it has not yet.
std::string owner_of(int file) {
  char text[512];
  const ssize_t bytes = ::pread(file, text, sizeof(text), 0);
  return bytes > 0 ? std::string(text, static_cast<size_t>(bytes)) : "one that has just begun";
}

/// Its owner removes the file at the end, and a lock on a removed file keeps nobody out.
bool is_file_at(int file, const std::filesystem::path& path) {
  struct stat own = {}, there = {};
  return ::fstat(file, &own) == 0 && ::stat(path.c_str(), &there) == 0 && own.st_ino == there.st_ino &&
         own.st_dev == there.st_dev;
}

}  // namespace

MadeFolders::MadeFolders(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_directory(folder, error)) {
    user_error("run folder ", folder.string(), " is a file; legal: another run.folder (--set run.folder=...)");
  }
  std::vector<std::filesystem::path> missing;
  for (std::filesystem::path each = folder; !each.empty() && !std::filesystem::exists(each, error);
       each = each.parent_path()) {
    if (each.has_filename()) missing.push_back(each);
  }
  std::filesystem::create_directories(folder, error);
  if (error) user_error("cannot make run folder ", folder.string(), ": ", error.message());
  made_.assign(missing.rbegin(), missing.rend());
}

MadeFolders::~MadeFolders() {
  for (; !made_.empty(); made_.pop_back()) {
    if (::rmdir(made_.back().c_str()) != 0) return;
  }
}

RunLock::RunLock(const std::filesystem::path& folder) : folders_(folder), path_(folder / "lock") {
  constexpr int kTries = 10;
  for (int i = 0; !try_lock(); ++i) {
    const std::string owner = owner_of(file_);
    ::close(file_);
    if (i == kTries) {  // and not just one that was refused, and is about to end
      user_error("another `moetrain train` is at work in run folder ", folder.string(), " (", owner,
                 "); legal: wait until it ends, stop it (SIGTERM to that process; it saves), or another run.folder");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  if (warning_.empty()) write_owner();
}

/// False where another process holds it; file_ is open then.
bool RunLock::try_lock() {
  while (true) {
    file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file_ < 0) user_error("cannot write ", path_.string(), ": ", std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) == 0) {
      if (is_file_at(file_, path_)) return true;
      ::close(file_);
      continue;
    }
    if (errno == EINTR) {
      ::close(file_);
      continue;
    }
    if (errno == EWOULDBLOCK) return false;
    warning_ = parallel::concat("warning: ", path_.string(), " cannot be locked (", std::strerror(errno),
                                "), so nothing keeps a second run out of this folder");
    return true;
  }
}

void RunLock::write_owner() const {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  const std::string text = parallel::concat("host ", host, ", process ", getpid(), ", since ", utc_now());
  // For people only: a full disk does not matter here.
  const bool written = ::ftruncate(file_, 0) == 0 && ::pwrite(file_, text.data(), text.size(), 0) > 0;
  static_cast<void>(written);
}

RunLock::~RunLock() {
  ::unlink(path_.c_str());
  ::close(file_);
}

}  // namespace launch
