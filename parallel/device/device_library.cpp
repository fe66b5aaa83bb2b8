#include "parallel/device/device_library.h"

#include <dlfcn.h>

#include "parallel/base/fault.h"

namespace parallel {

const DeviceLibrary& device_library() {
  static const DeviceLibrary loaded = [] {
    DeviceLibrary result;
    void* file = dlopen(kDeviceLibrary, RTLD_NOW | RTLD_LOCAL);
    void* fill = file == nullptr ? nullptr : dlsym(file, kFillDeviceLibrary);
    if (fill == nullptr) {
      result.fault = dlerror();
    } else {
      reinterpret_cast<void (*)(DeviceLibrary&)>(fill)(result);
    }
    return result;
  }();
  return loaded;
}

c10::Device open_accelerator(int64_t local_rank) {
  if (device_library().open_device == nullptr) {
    user_error("run.device = \"cuda\": this build has no CUDA (", device_library().fault, "); legal: \"cpu\"");
  }
  return device_library().open_device(local_rank);
}

OpenedDevice opened_device() { return device_library().opened(); }

int64_t multiprocessors() { return device_library().multiprocessors(); }

bool has_grouped_product() { return device_library().has_grouped_product(); }

void grouped_product_out(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                         const at::Tensor& end_G) {
  device_library().grouped_product_out(out, left, right, end_G);
}

DeviceFacts device_facts() { return device_library().facts == nullptr ? DeviceFacts{} : device_library().facts(); }

}  // namespace parallel
