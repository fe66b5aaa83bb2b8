#include "parallel/memory/resident_memory.h"

#include <fstream>
#include <limits>
#include <string>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// [byte] by a line of /proc/self/status, which is in kB.
int64_t status_bytes(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word; file.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    int64_t kilobytes = 0;
    if (word == name && file >> kilobytes) return kilobytes * 1024;
  }
  check_internal(false, "/proc/self/status has no line ", name);
  return 0;
}

}  // namespace

int64_t resident_bytes() { return status_bytes("VmRSS:"); }

int64_t most_resident_bytes() { return status_bytes("VmHWM:"); }

}  // namespace parallel
