#include "tests/strict_device/launches.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

namespace strict {
namespace {

class Launches {
 public:
  Launches() {
    if (const char* path = std::getenv("STRICT_DEVICE_LAUNCHES")) {
      file_ = std::fopen((std::string(path) + "." + std::to_string(getpid())).c_str(), "w");
    }
  }
  ~Launches() {
    if (file_ != nullptr) std::fclose(file_);
  }

  bool wanted() const { return file_ != nullptr; }

  void add(const std::string& line) {
    const std::lock_guard lock(mutex_);
    std::fputs(line.c_str(), file_);
  }

 private:
  std::mutex mutex_;
  std::FILE* file_ = nullptr;
};

Launches launches;

/// A dimension without a stride is one element, however often it is read.
std::string described(const Touched& touched) {
  std::string sizes;
  for (int64_t i = 0; i < touched.tensor.dim(); ++i) {
    if (!sizes.empty()) sizes += ", ";
    sizes += std::to_string(touched.tensor.stride(i) == 0 ? 1 : touched.tensor.size(i));
  }
  return std::string("[") + (touched.written ? "true" : "false") + ", " +
         std::to_string(touched.tensor.element_size()) + ", [" + sizes + "]]";
}

}  // namespace

bool records_launches() { return launches.wanted(); }

void record_launch(std::string_view operation, const std::vector<Touched>& touched) {
  if (!launches.wanted()) return;
  std::string tensors;
  bool writes = false;
  for (const Touched& each : touched) {
    if (!each.tensor.defined()) continue;
    writes = writes || (each.written && each.tensor.numel() > 0);
    if (!tensors.empty()) tensors += ", ";
    tensors += described(each);
  }
  if (!writes) return;
  const bool backward = getpid() != gettid();
  launches.add("{\"operation\": \"" + std::string(operation) + "\", \"backward\": " + (backward ? "true" : "false") +
               ", \"tensors\": [" + tensors + "]}\n");
}

}  // namespace strict
