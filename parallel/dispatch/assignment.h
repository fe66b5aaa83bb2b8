// defines: Assignment, what a router decides and a dispatcher carries out
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace parallel {

// T tokens here, K choices per token, E experts, R rows (kept choices), D model width

/// Which experts each token visits. A dropped choice has expert kDropped and adds nothing to the token's output.
struct Assignment {
  static constexpr int64_t kDropped = -1;
  at::Tensor expert_TK;  // int64 in [0, E) or kDropped
  at::Tensor weight_TK;  // combine weights, of the model's dtype; carries the router's gradient
  int64_t num_experts = 0;
  /// Of the choices those that were not dropped, where the host knows without asking a device.
  std::optional<int64_t> kept = {};
};

}  // namespace parallel
