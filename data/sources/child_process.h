// defines: ChildLimits, ChildResult, run_child
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace data {

struct ChildLimits {
  int64_t most_bytes = 64ll << 20;  // of standard output
  int64_t seconds = 60;
};

struct ChildResult {
  enum class End { kExited, kSignalled, kTooMuchOutput, kTooLong, kNotFound } end = End::kExited;
  int status = 0;      // exit status or signal
  std::string output;  // standard output; standard error is thrown away
};

/// Runs `arguments[0]`, looked up in PATH, without a shell, with no standard input; any number of threads may. A child
/// that exceeds a limit is killed. InternalError where no process can be made.
ChildResult run_child(const std::vector<std::string>& arguments, const ChildLimits& limits = {});

}  // namespace data
