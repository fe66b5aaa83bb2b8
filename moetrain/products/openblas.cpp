#include "moetrain/products/openblas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

constexpr const char* kDebian = "/usr/lib/x86_64-linux-gnu/openblas-serial/libopenblas.so.0";
constexpr const char* kDebianArm = "/usr/lib/aarch64-linux-gnu/openblas-serial/libopenblas.so.0";

template <class Function>
Function symbol(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

/// What this processor can do and an OpenBLAS that took it for one without AVX2 does not know; null where it does.
const char* better_core(void* library) {
#if defined(__x86_64__)
  const auto core = library != nullptr ? symbol<const char* (*)()>(library, "openblas_get_corename") : nullptr;
  if (core == nullptr || (std::strcmp(core(), "Prescott") != 0 && std::strcmp(core(), "Nehalem") != 0)) return nullptr;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return "SkylakeX";
  if (__builtin_cpu_supports("avx2")) return "Haswell";
#endif
  static_cast<void>(library);
  return nullptr;
}

}  // namespace

struct OpenBlas::Found {
  std::optional<OpenBlas> library;
  std::string facts;
};

std::string OpenBlas::open(const std::string& path) {
  // A build with threads would make them while it is being opened.
  setenv("OPENBLAS_NUM_THREADS", "1", /*replace=*/0);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  // It knows processors by their numbers, takes one that is newer than itself for the oldest, and may be told once,
  // before it is opened.
  const char* const better = std::getenv("OPENBLAS_CORETYPE") == nullptr ? better_core(library) : nullptr;
  if (better != nullptr) {
    dlclose(library);
    setenv("OPENBLAS_CORETYPE", better, /*replace=*/0);
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    unsetenv("OPENBLAS_CORETYPE");
  }
  if (library == nullptr) return dlerror();
  const auto threading = symbol<int (*)()>(library, "openblas_get_parallel");
  const auto config = symbol<const char* (*)()>(library, "openblas_get_config");
  sgemm_ = symbol<Sgemm>(library, "cblas_sgemm");
  if (threading == nullptr || config == nullptr || sgemm_ == nullptr) return path + " is no OpenBLAS";
  if (threading() != 0) return path + " has threads of its own; the package libopenblas0-serial has none";
  config_ = config();
  place_ = path;
  return {};
}

const OpenBlas::Found& OpenBlas::found() {
  static const Found kFound = [] {
    std::vector<std::string> places{kDebian, kDebianArm};
    const char* const named = std::getenv("MOETRAIN_OPENBLAS");
    if (named != nullptr) places = {named};
    Found found{.library = std::nullopt, .facts = "OpenBLAS: none (package libopenblas0-serial, or MOETRAIN_OPENBLAS)"};
    for (const std::string& place : places) {
      if (named == nullptr && !std::filesystem::exists(place)) continue;
      OpenBlas opened;
      const std::string why = opened.open(place);
      if (why.empty()) {
        found.facts = parallel::concat(opened.config_, " (", opened.place_, ")");
        found.library = std::move(opened);
        break;
      }
      found.facts = "OpenBLAS: none: " + why;
    }
    return found;
  }();
  return kFound;
}

const OpenBlas* OpenBlas::at_hand() { return found().library ? &*found().library : nullptr; }

const std::string& OpenBlas::facts() { return found().facts; }

void OpenBlas::multiply(int m, int n, int k, const Matrix& left, const Matrix& right, const Result& out) const {
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  sgemm_(kRowMajor, left.transposed ? kTransposed : kPlain, right.transposed ? kTransposed : kPlain, m, n, k, 1.0F,
         left.data, left.stride, right.data, right.stride, out.add ? 1.0F : 0.0F, out.data, out.stride);
}

}  // namespace moetrain
