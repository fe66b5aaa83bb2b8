#include "parallel/comm/cuda.h"

#include <dlfcn.h>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

struct LoadedLibrary : CudaLibrary {
  std::string fault;  // why it could not be loaded
};

/// Once, and for good: LibTorch's tables hold on to what registered itself there.
const LoadedLibrary& library() {
  static const LoadedLibrary loaded = [] {
    LoadedLibrary result;
    void* file = dlopen(kCudaLibrary, RTLD_NOW | RTLD_LOCAL);
    void* fill = file == nullptr ? nullptr : dlsym(file, kFillCudaLibrary);
    if (fill == nullptr) {
      result.fault = dlerror();
    } else {
      reinterpret_cast<void (*)(CudaLibrary&)>(fill)(result);
    }
    return result;
  }();
  return loaded;
}

}  // namespace

at::Device open_cuda_device(int64_t local_rank) {
  if (library().open_device == nullptr) {
    user_error("run.device = \"cuda\": this build has no CUDA (", library().fault, "); legal: \"cpu\"");
  }
  return library().open_device(local_rank);
}

CudaFacts cuda_facts() { return library().facts == nullptr ? CudaFacts{} : library().facts(); }

std::shared_ptr<Communicator> cuda_communicator(Communicator& bootstrap) {
  check_internal(library().communicator != nullptr, "cuda_communicator: ", library().fault);
  return library().communicator(bootstrap);
}

}  // namespace parallel
