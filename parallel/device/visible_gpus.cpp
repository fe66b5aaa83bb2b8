#include "parallel/device/visible_gpus.h"

#include <cstdlib>
#include <string>

#include "parallel/base/fault.h"

namespace parallel {

int64_t gpu_of_rank(int64_t local_rank, int64_t visible) {
  const char* shown = std::getenv("CUDA_VISIBLE_DEVICES");
  // A launcher may show each rank one GPU, its own (srun --gpus-per-task=1).
  if (visible == 1 && shown != nullptr) return 0;
  if (local_rank < visible) return local_rank;
  const std::string by_launcher = shown == nullptr ? "" : concat(" (CUDA_VISIBLE_DEVICES=\"", shown, "\")");
  user_error("run.device = \"cuda\": rank ", local_rank, " of this host needs a GPU of its own, and ", visible,
             " are visible", by_launcher, "; legal: at most one rank for each GPU, or run.device = \"cpu\"");
}

}  // namespace parallel
