#include "parallel/comm/accelerator_communicator.h"

#include "parallel/base/fault.h"

namespace parallel {

std::shared_ptr<Communicator> accelerator_communicator(Communicator& bootstrap, at::Device device) {
  check_internal(device_library().communicator != nullptr, "accelerator_communicator: ", device_library().fault);
  return device_library().communicator(bootstrap, device);
}

}  // namespace parallel
