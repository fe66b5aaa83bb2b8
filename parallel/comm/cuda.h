// CUDA's half is a library of its own, which is loaded where it is asked for: LibTorch's alone costs every start 0.3 s.
// defines: open_cuda_device, CudaFacts, cuda_facts, cuda_communicator; CudaLibrary, kCudaLibrary: what is loaded
#pragma once
#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"

namespace parallel {

/// The GPU of this rank: number `local_rank` of those its host shows. UserError where there is none, or fewer GPUs
/// than ranks, or where this build has no CUDA. Before anything asks LibTorch for CUDA: it remembers the answer.
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

/// The three, as nccl_communicator.cpp has them; null where it could not be loaded.
struct CudaLibrary {
  at::Device (*open_device)(int64_t local_rank) = nullptr;
  CudaFacts (*facts)() = nullptr;
  std::shared_ptr<Communicator> (*communicator)(Communicator& bootstrap) = nullptr;
};

/// The file, looked for where the program's own libraries are, and the function in it that fills in a CudaLibrary.
constexpr const char* kCudaLibrary = "libmoetrain_cuda.so";
constexpr const char* kFillCudaLibrary = "moetrain_fill_cuda_library";

}  // namespace parallel
