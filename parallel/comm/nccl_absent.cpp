// Stands in for nccl_communicator.cpp in a build without CUDA.
#include "parallel/base/fault.h"
#include "parallel/comm/nccl_communicator.h"

namespace parallel {

at::Device open_cuda_device(int64_t) { user_error("run.device = \"cuda\": this build has no CUDA; legal: \"cpu\""); }

CudaFacts cuda_facts() { return {}; }

std::shared_ptr<Communicator> cuda_communicator(Communicator&) {
  throw InternalError("cuda_communicator in a build without CUDA");
}

}  // namespace parallel
