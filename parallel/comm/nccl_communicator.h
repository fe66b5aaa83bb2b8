// defines: cuda_communicator(bootstrap), open_cuda_device(local_rank): collectives on CUDA tensors; CudaFacts
#pragma once
#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"

namespace parallel {

/// The GPU of this rank: number `local_rank` of those its host shows. UserError where there is none, or fewer GPUs
/// than ranks, or where this build has no CUDA.
at::Device open_cuda_device(int64_t local_rank);

/// What this process sees of CUDA. Versions are empty in a build without it.
struct CudaFacts {
  std::string built_with, nccl;
  std::vector<std::string> gpus;  // their names
};
CudaFacts cuda_facts();

/// A communicator for CUDA tensors over the ranks of `bootstrap`, which carries NCCL's unique id once. A group of
/// one is served by LocalCommunicator. Its operations run on a stream of their own, ordered after what the caller's
/// current stream holds at the call. Collective.
std::shared_ptr<Communicator> cuda_communicator(Communicator& bootstrap);

}  // namespace parallel
