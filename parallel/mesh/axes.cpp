#include "parallel/mesh/axes.h"

namespace parallel {

const std::array<AxisRow, kAxes>& axis_rows() {
  static const std::array<AxisRow, kAxes> kRows{{
      {.axis = Axis::kWorld,
       .name = "world",
       .ranks = [](const MeshShape& shape) { return shape.ranks(); },
       .group = [](const MeshShape&, const MeshPlace&) { return int64_t{0}; },
       .carries = "how often each expert is chosen",
       .gradients = "gradients of what every rank holds"},
      {.axis = Axis::kData,
       .name = "data",
       .ranks = [](const MeshShape& shape) { return shape.data; },
       .group = [](const MeshShape&, const MeshPlace& place) { return place.tensor; },
       .place = &MeshPlace::data,
       .shares = "dense part: the same weights, other tokens",
       .gradients = "gradients of what tensor groups divide"},
      {.axis = Axis::kTensor,
       .name = "tensor",
       .ranks = [](const MeshShape& shape) { return shape.tensor; },
       .group = [](const MeshShape&, const MeshPlace& place) { return place.data; },
       .place = &MeshPlace::tensor,
       .degree = &MeshConfig::tensor,
       .shares = "dense part: heads, hidden units, vocabulary",
       .carries = "tokens of dense layers"},
      {.axis = Axis::kExpertData,
       .name = "expert_data",
       .ranks = [](const MeshShape& shape) { return shape.expert_data; },
       .group = [](const MeshShape& shape,
                   const MeshPlace& place) { return place.expert * shape.expert_tensor + place.expert_tensor; },
       .place = &MeshPlace::expert_data,
       .shares = "experts: the same weights, other tokens",
       .gradients = "gradients of experts"},
      {.axis = Axis::kExpert,
       .name = "expert",
       .ranks = [](const MeshShape& shape) { return shape.expert; },
       .group = [](const MeshShape& shape,
                   const MeshPlace& place) { return place.expert_data * shape.expert_tensor + place.expert_tensor; },
       .place = &MeshPlace::expert,
       .degree = &MeshConfig::expert,
       .shares = "experts: each whole on one rank",
       .carries = "rows to their experts and back",
       .lane = Link::kBetweenHosts},
      {.axis = Axis::kExpertTensor,
       .name = "expert_tensor",
       .ranks = [](const MeshShape& shape) { return shape.expert_tensor; },
       .group = [](const MeshShape& shape,
                   const MeshPlace& place) { return place.expert_data * shape.expert + place.expert; },
       .place = &MeshPlace::expert_tensor,
       .degree = &MeshConfig::expert_tensor,
       .shares = "experts: hidden units of each",
       .carries = "rows to all ranks of an expert, and its sums",
       .lane = Link::kInsideHost},
      {.axis = Axis::kExperts,
       .name = "experts",
       .ranks = [](const MeshShape& shape) { return shape.expert * shape.expert_tensor; },
       .group = [](const MeshShape&, const MeshPlace& place) { return place.expert_data; },
       .carries = "counts of rows"},
      {.axis = Axis::kExpertParts,
       .name = "expert_parts",
       .ranks = [](const MeshShape& shape) { return shape.expert_data * shape.expert_tensor; },
       .group = [](const MeshShape&, const MeshPlace& place) { return place.expert; },
       .gradients = "gradients of experts' adapters that all parts of an expert hold"},
  }};
  return kRows;
}

const AxisRow& row_of(Axis axis) { return axis_rows()[static_cast<size_t>(axis)]; }

std::string ledger_name(Axis axis, GroupUse use) {
  return (use == GroupUse::kGradients ? "gradients." : "") + std::string(row_of(axis).name);
}

const ReplicasRow& row_of(Replicas replicas) {
  static const std::array<ReplicasRow, kAllReplicas.size()> kRows{{
      {.sharers = Axis::kWorld},
      {.sharers = Axis::kData, .parts = Axis::kTensor, .cut = Axis::kTensor},
      {.sharers = Axis::kExpertData, .parts = Axis::kExperts, .cut = Axis::kExpertTensor},
      {.sharers = Axis::kExpertParts, .parts = Axis::kExpert},
  }};
  return kRows[static_cast<size_t>(replicas)];
}

}  // namespace parallel
