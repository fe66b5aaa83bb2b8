#include "moetrain/routers/gates.h"

#include <ATen/ATen.h>

#include "parallel/base/name_table.h"

namespace moetrain {

Gate parse_gate(const std::string& name) {
  return parallel::NameTable<Gate>(
             "gate",
             {{"raw", Gate::kRaw}, {"sum1", Gate::kSum1}, {"sum1_kept", Gate::kSum1Kept}, {"hard", Gate::kHard}})
      .at(name);
}

at::Tensor gate_weights(Gate gate, const at::Tensor& probability_TK, const at::Tensor& kept_TK) {
  switch (gate) {
    case Gate::kRaw:
      return probability_TK;
    case Gate::kSum1:
      return probability_TK / probability_TK.sum(1, /*keepdim=*/true);
    case Gate::kSum1Kept: {
      const at::Tensor left_TK = probability_TK.masked_fill(kept_TK.logical_not(), 0.0);
      const at::Tensor sum_T1 = left_TK.sum(1, /*keepdim=*/true);
      return left_TK / sum_T1.masked_fill(sum_T1 == 0, 1.0);  // a token that lost all its choices
    }
    case Gate::kHard:
      break;
  }
  return at::full_like(probability_TK.detach(), 1.0 / static_cast<double>(probability_TK.size(1)));
}

}  // namespace moetrain
