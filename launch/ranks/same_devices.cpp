#include "launch/ranks/same_devices.h"

#include <map>
#include <string>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/base/rank_list.h"

namespace launch {
namespace {

using parallel::concat;
using parallel::OpenedDevice;

using Ranks = std::vector<int64_t>;

/// "ranks 0-2 have NVIDIA H200, rank 3 NVIDIA A100"; empty where all have the same.
std::string differing(const std::vector<OpenedDevice>& by_rank, std::string OpenedDevice::*what) {
  std::map<std::string, Ranks> ranks;
  for (size_t r = 0; r < by_rank.size(); ++r) ranks[by_rank[r].*what].push_back(static_cast<int64_t>(r));
  if (ranks.size() <= 1) return "";
  std::string text;
  for (const auto& [name, those] : ranks) {
    const char* have = !text.empty() ? " " : those.size() > 1 ? " have " : " has ";
    text +=
        concat(text.empty() ? "" : ", ", those.size() > 1 ? "ranks " : "rank ", parallel::rank_list(those), have, name);
  }
  return text;
}

}  // namespace

void check_devices(const std::vector<OpenedDevice>& by_rank, const std::vector<int64_t>& hosts) {
  if (const std::string kinds = differing(by_rank, &OpenedDevice::name); !kinds.empty()) {
    parallel::user_error("run.device = \"cuda\": GPUs of different kinds in one job: ", kinds,
                         "; legal: one kind for all ranks (of a host, CUDA_VISIBLE_DEVICES chooses)");
  }
  if (const std::string versions = differing(by_rank, &OpenedDevice::nccl); !versions.empty()) {
    parallel::user_error("run.device = \"cuda\": other versions of NCCL on other ranks: ", versions,
                         "; legal: the same on all hosts (LD_LIBRARY_PATH)");
  }
  std::map<std::pair<int64_t, std::string>, Ranks> of_gpu;
  for (size_t r = 0; r < by_rank.size(); ++r) of_gpu[{hosts[r], by_rank[r].id}].push_back(static_cast<int64_t>(r));
  for (const auto& [gpu, ranks] : of_gpu) {
    if (ranks.size() == 1 || gpu.second.empty()) continue;
    parallel::user_error("run.device = \"cuda\": ranks ", parallel::rank_list(ranks), " were shown one GPU, ",
                         gpu.second,
                         "; legal: one for each rank: CUDA_VISIBLE_DEVICES of a GPU for each, or of all, or unset");
  }
}

}  // namespace launch
