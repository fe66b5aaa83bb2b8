// defines: MeshShape, MeshPlace, mesh_shape: ranks folded twice, for the dense part and for the experts
#pragma once
#include <cstdint>
#include <string>

#include "parallel/mesh/mesh_config.h"

namespace parallel {

/// Where one rank stands on each axis.
struct MeshPlace {
  int64_t data = 0, tensor = 0;
  int64_t expert_data = 0, expert = 0, expert_tensor = 0;
};

/// The same ranks as data x tensor for the dense part and as expert_data x expert x expert_tensor for the experts, the
/// last axis running fastest: neighbours in rank, which a launcher puts on one host, share tensors.
struct MeshShape {
  int64_t data = 1, tensor = 1;
  int64_t expert_data = 1, expert = 1, expert_tensor = 1;

  int64_t ranks() const { return data * tensor; }
  MeshPlace place(int64_t rank) const;
  /// "4 ranks: data 2 x tensor 2; experts: expert_data 1 x expert 4 x expert_tensor 1"
  std::string describe() const;
};

/// UserError naming the key, its value and the nearest legal ones where an axis does not divide the ranks.
MeshShape mesh_shape(const MeshConfig& config, int64_t ranks);

}  // namespace parallel
