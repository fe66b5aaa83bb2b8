// defines: accelerator_communicator, nccl_communicator
#pragma once
#include "parallel/comm/communicator.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/device_library.h"

namespace parallel {

/// A communicator for tensors of `device`, an accelerator that was opened, over the ranks of `bootstrap` (CPU tensors).
/// A group of one is served by LocalCommunicator. Collective.
std::shared_ptr<Communicator> accelerator_communicator(Communicator& bootstrap, at::Device device);

/// What is behind it, in libmoetrain_cuda.so alone (tests/strict_device has it over a stand-in for NCCL): of several
/// ranks. Collective.
std::shared_ptr<Communicator> nccl_communicator(Communicator& bootstrap, at::Device device);

}  // namespace parallel
