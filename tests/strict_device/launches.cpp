#include "tests/strict_device/launches.h"

#include <c10/util/accumulate.h>
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

}  // namespace

bool records_launches() { return launches.wanted(); }

Touched::Touched(const at::Tensor& tensor, bool is_written) : written(is_written) {
  if (!tensor.defined()) return;
  element_bytes = static_cast<int64_t>(tensor.element_size());
  for (int64_t i = 0; i < tensor.dim(); ++i) sizes.push_back(tensor.stride(i) == 0 ? 1 : tensor.size(i));
}

void record_launch(std::string_view operation, const std::vector<Touched>& touched) {
  if (!launches.wanted()) return;
  std::string tensors;
  bool writes = false;
  for (const Touched& each : touched) {
    if (each.element_bytes == 0) continue;
    std::string sizes;
    for (const int64_t size : each.sizes) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
    writes = writes || (each.written && c10::multiply_integers(each.sizes) > 0);
    tensors += std::string(tensors.empty() ? "" : ", ") + "[" + (each.written ? "true" : "false") + ", " +
               std::to_string(each.element_bytes) + ", [" + sizes + "]]";
  }
  if (!writes) return;
  const bool backward = getpid() != gettid();
  launches.add("{\"operation\": \"" + std::string(operation) + "\", \"backward\": " + (backward ? "true" : "false") +
               ", \"tensors\": [" + tensors + "]}\n");
}

}  // namespace strict
