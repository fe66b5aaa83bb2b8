#include "moetrain/routers/capacities/drop_rules.h"

#include <ATen/ATen.h>

#include <vector>

#include "moetrain/ranking/ranking.h"
#include "parallel/device/accelerator.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {
namespace {

/// Every rank's choices as [R ranks, M rows, K, (expert, priority)]; rows that fill up a rank hold expert kDropped.
at::Tensor gather_choices(const at::Tensor& expert_TK, const at::Tensor& priority_TK, parallel::Communicator& group,
                          at::Device device) {
  at::Tensor rows = at::full({1}, expert_TK.size(0), at::TensorOptions(at::kLong).device(device));
  group.all_reduce(rows, parallel::ReduceOp::kMax).wait();
  const int64_t most = rows.item<int64_t>(), top_k = expert_TK.size(1);
  at::Tensor part = at::full({most, top_k, 2}, static_cast<double>(parallel::Assignment::kDropped), at::kDouble);
  part.narrow(0, 0, expert_TK.size(0)).copy_(at::stack({expert_TK.to(at::kDouble), priority_TK}, 2));
  at::Tensor gathered = at::empty({group.size(), most, top_k, 2}, at::TensorOptions(at::kDouble).device(device));
  group.all_gather(gathered, parallel::send(part, device)).wait();
  return gathered.to(at::kCPU);
}

/// The order is (rank of choice, rank, token there) as one number: global order.
std::vector<std::vector<Claim>> claims_of(const at::Tensor& gathered, size_t experts) {
  const auto value = gathered.accessor<double, 4>();
  std::vector<std::vector<Claim>> claims(experts);
  int64_t order = 0;
  for (int64_t j = 0; j < value.size(2); ++j) {
    for (int64_t r = 0; r < value.size(0); ++r) {
      for (int64_t t = 0; t < value.size(1); ++t, ++order) {
        const auto expert = static_cast<int64_t>(value[r][t][j][0]);
        const double priority = value[r][t][j][1];
        if (expert >= 0) claims[static_cast<size_t>(expert)].push_back({priority, priority, order});
      }
    }
  }
  return claims;
}

}  // namespace

int64_t drop_late(at::Tensor& expert_TK, at::Tensor taken_KE, const std::vector<int64_t>& capacity_E) {
  auto expert = expert_TK.accessor<int64_t, 2>();
  auto taken = taken_KE.accessor<int64_t, 2>();
  int64_t dropped = 0;
  for (int64_t j = 0; j < expert.size(1); ++j) {
    for (int64_t t = 0; t < expert.size(0); ++t) {
      const int64_t e = expert[t][j];
      if (e == parallel::Assignment::kDropped) continue;  // no choice
      if (taken[j][e]++ < capacity_E[static_cast<size_t>(e)]) continue;
      expert[t][j] = parallel::Assignment::kDropped;
      ++dropped;
    }
  }
  return dropped;
}

int64_t drop_lowest(at::Tensor& expert_TK, const Priorities& priorities, const std::vector<int64_t>& capacity_E,
                    parallel::Communicator& group, at::Device device) {
  const at::Tensor gathered = gather_choices(expert_TK, priorities.value_TK, group, device);
  const int64_t ranks = gathered.size(0), most = gathered.size(1);
  auto expert = expert_TK.accessor<int64_t, 2>();
  int64_t dropped = 0;
  std::vector<std::vector<Claim>> claims_E = claims_of(gathered, capacity_E.size());
  for (size_t e = 0; e < claims_E.size(); ++e) {
    std::vector<Claim>& claims = claims_E[e];
    const int64_t capacity = capacity_E[e];
    if (static_cast<int64_t>(claims.size()) <= capacity) continue;
    rank_around(claims, capacity, priorities.bound);
    for (auto claim = claims.begin() + capacity; claim != claims.end(); ++claim) {
      if (claim->order / most % ranks != group.rank()) continue;
      expert[claim->order % most][claim->order / (most * ranks)] = parallel::Assignment::kDropped;
      ++dropped;
    }
  }
  return dropped;
}

}  // namespace moetrain
