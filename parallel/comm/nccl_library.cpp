// With what parallel/device/cuda_device.h declares, libmoetrain_cuda.so is made of this and of the communicator.
#include <nccl.h>
#include <net/if.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"
#include "parallel/comm/accelerator_communicator.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/device/cuda_device.h"

namespace parallel {
namespace {

int loaded_version() {
  int version = 0;
  check_internal(ncclGetVersion(&version) == ncclSuccess, "ncclGetVersion failed");
  return version;
}

std::string to_text(int version) { return concat(version / 10000, ".", version / 100 % 100, ".", version % 100); }

void check_version() {
  constexpr int kMajor = 10000;
  const bool same_major = loaded_version() / kMajor == NCCL_VERSION_CODE / kMajor;
  if (same_major && loaded_version() >= NCCL_VERSION_CODE) return;
  user_error("run.device = \"cuda\": the NCCL that was found is ", to_text(loaded_version()), ", ",
             same_major ? "older than the one" : "of another major version than the one",
             " this program was built with; legal: ", to_text(NCCL_VERSION_CODE), " or a later ",
             NCCL_VERSION_CODE / kMajor, ".x in LD_LIBRARY_PATH, or nothing of NCCL there");
}

/// NCCL would say so at the first collective, on each rank, in its own words.
void check_interfaces() {
  const char* variable = std::getenv("NCCL_SOCKET_IFNAME");
  if (variable == nullptr || *variable == '\0' || *variable == '^') return;
  const bool exact = *variable == '=';
  std::vector<std::string> there;
  struct if_nameindex* all = if_nameindex();
  for (const auto* each = all; each != nullptr && each->if_index != 0; ++each) there.emplace_back(each->if_name);
  if (all != nullptr) if_freenameindex(all);
  for (const std::string& name : there) {
    for (const std::string_view word : split(variable + (exact ? 1 : 0), ',')) {
      const std::string_view wanted = word.substr(0, word.find(':'));  // behind it a port
      if (wanted.empty()) continue;
      if (exact ? name == wanted : name.starts_with(wanted)) return;
    }
  }
  user_error("NCCL_SOCKET_IFNAME=\"", variable, "\" fits no network interface of this host; legal: some of ",
             list_names(there));
}

at::Device open_device(int64_t local_rank) {
  check_version();
  // Kernels of several communicators start in the order in which the host calls, which is the same on every rank.
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", /*replace=*/0);
  // A communicator connects for all its algorithms when it is made, not for each at its first use.
  setenv("NCCL_RUNTIME_CONNECT", "0", /*replace=*/0);
  return open_cuda_device(local_rank);
}

DeviceFacts facts() {
  DeviceFacts found = cuda_facts();
  found.nccl = to_text(loaded_version());
  return found;
}

OpenedDevice opened() {
  OpenedDevice found = opened_cuda_device();
  found.nccl = to_text(loaded_version());
  return found;
}

std::shared_ptr<Communicator> communicator(Communicator& bootstrap, at::Device device) {
  if (bootstrap.size() == 1) return std::make_shared<LocalCommunicator>();
  all_ranks(bootstrap, check_interfaces);
  return nccl_communicator(bootstrap, device);
}

}  // namespace
}  // namespace parallel

extern "C" void moetrain_fill_device_library(parallel::DeviceLibrary& library) {
  library.open_device = parallel::open_device;
  library.facts = parallel::facts;
  library.opened = parallel::opened;
  library.communicator = parallel::communicator;
  library.multiprocessors = parallel::cuda_multiprocessors;
  library.has_grouped_product = parallel::cuda_has_grouped_product;
  library.grouped_product_out = parallel::cuda_grouped_product_out;
  library.kernels = parallel::cuda_kernels();
}
