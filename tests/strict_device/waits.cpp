#include "tests/strict_device/waits.h"

#include <execinfo.h>
#include <link.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

namespace strict {
namespace {

constexpr size_t kPlaces = 4;

/// The program itself, without its libraries.
struct Program {
  uintptr_t base = 0, end = 0;
};

const Program& program() {
  static const Program found = [] {
    Program result;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* into) {
          auto& own = *static_cast<Program*>(into);
          own.base = info->dlpi_addr;
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& part = info->dlpi_phdr[i];
            if (part.p_type == PT_LOAD) own.end = std::max<uintptr_t>(own.end, own.base + part.p_vaddr + part.p_memsz);
          }
          return 1;  // the first is the program
        },
        &result);
    return result;
  }();
  return found;
}

struct Key {
  std::string what;
  std::array<uintptr_t, kPlaces> places{};
  auto operator<=>(const Key&) const = default;
};

class Waits {
 public:
  void add(const char* what) {
    std::array<void*, 64> frames{};
    const int depth = backtrace(frames.data(), static_cast<int>(frames.size()));
    Key key{what, {}};
    size_t places = 0;
    for (int i = 0; i < depth && places < kPlaces; ++i) {
      const auto address = reinterpret_cast<uintptr_t>(frames[static_cast<size_t>(i)]);
      if (program().base <= address && address < program().end) key.places[places++] = address - program().base - 1;
    }
    const std::lock_guard lock(mutex_);
    ++counts_[key];
  }

  ~Waits() {
    const char* path = std::getenv("STRICT_DEVICE_WAITS");
    if (path == nullptr) return;
    std::FILE* file = std::fopen((std::string(path) + "." + std::to_string(getpid())).c_str(), "w");
    if (file == nullptr) return;
    for (const auto& [key, count] : counts_) {
      std::fprintf(file, "%ld %s", count, key.what.c_str());
      for (const uintptr_t place : key.places) std::fprintf(file, " %lx", static_cast<unsigned long>(place));
      std::fprintf(file, "\n");
    }
    std::fclose(file);
  }

 private:
  std::mutex mutex_;
  std::map<Key, long> counts_;
};

Waits waits;

}  // namespace

void count_wait(const char* what) {
  static const bool asked =
      std::getenv("STRICT_DEVICE_WAITS") != nullptr;  // walking up the stack costs more than the wait
  if (asked) waits.add(what);
}

}  // namespace strict
