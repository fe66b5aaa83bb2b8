#include "data/sources/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "parallel/base/fault.h"

extern char** environ;

namespace data {
namespace {

/// Closes a file descriptor when it goes.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

/// posix_spawnp with standard output into `output_fd`; gives its error number.
int spawn(const std::vector<std::string>& arguments, int output_fd, pid_t& child) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output_fd, 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  const int error = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

/// Reads until the child closes its end or a limit is reached; says which.
ChildResult::End collect(int fd, const ChildLimits& limits, std::string& output) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::seconds(limits.seconds);
  char buffer[1 << 16];
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return ChildResult::End::kTooLong;
    pollfd waiting{fd, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(left)) <= 0) continue;
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ChildResult::End::kExited;
    output.append(buffer, static_cast<size_t>(got));
    if (static_cast<int64_t>(output.size()) > limits.most_bytes) return ChildResult::End::kTooMuchOutput;
  }
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& arguments, const ChildLimits& limits) {
  int ends[2];
  // Close-on-exec, or a child of another thread would hold this pipe open.
  parallel::check_internal(::pipe2(ends, O_CLOEXEC) == 0, "no pipe for ", arguments[0], ": ", std::strerror(errno));
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  pid_t child = -1;
  const int error = spawn(arguments, writer.fd(), child);
  if (error == ENOENT || error == EACCES) return {ChildResult::End::kNotFound, 0, ""};
  parallel::check_internal(error == 0, "cannot start ", arguments[0], ": ", std::strerror(error));
  writer.close();
  ChildResult result;
  result.end = collect(reader.fd(), limits, result.output);
  if (result.end != ChildResult::End::kExited) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (result.end != ChildResult::End::kExited) return result;
  if (WIFSIGNALED(status)) result.end = ChildResult::End::kSignalled;
  result.status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace data
