// The axes of a layout as data: for the groups of a run, its ledger, notes and planning.
// defines: Axis, GroupUse, AxisRow, axis_rows, row_of, ledger_name, ReplicasRow
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "parallel/comm/communicator.h"
#include "parallel/mesh/mesh_shape.h"
#include "parallel/mesh/placement.h"

namespace parallel {

/// Ranks that exchange something: all, those of one axis, (kExperts) those that together hold every expert once, or
/// (kExpertParts) those that have the same experts.
enum class Axis { kWorld, kData, kTensor, kExpertData, kExpert, kExpertTensor, kExperts, kExpertParts };

inline constexpr size_t kAxes = 8;

/// Traffic classes: what forward and backward exchange, and what is summed behind them.
enum class GroupUse { kTokens, kGradients };

struct AxisRow {
  Axis axis = Axis::kWorld;
  const char* name = nullptr;                          // in tables; where it has a degree, mesh.NAME is its key
  int64_t (*ranks)(const MeshShape& shape) = nullptr;  // of one group
  int64_t (*group)(const MeshShape& shape, const MeshPlace& place) = nullptr;  // equal for ranks of one group
  int64_t MeshPlace::*place = nullptr;                                         // on the axis; null: it is several
  int64_t MeshConfig::*degree = nullptr;                                       // null: what others leave of the ranks
  const char* shares = nullptr;     // what the ranks of a group share; null: it is several axes together
  const char* carries = nullptr;    // as GroupUse::kTokens; null: nothing that would need a group of its own
  const char* gradients = nullptr;  // as GroupUse::kGradients; null: no gradients are summed over it
  Link lane = Link::kNone;          // which link its tokens have to themselves
};

/// In the order of Axis.
const std::array<AxisRow, kAxes>& axis_rows();
const AxisRow& row_of(Axis axis);

/// "tensor", "gradients.data": how the ledger counts it.
std::string ledger_name(Axis axis, GroupUse use = GroupUse::kTokens);

/// Who holds what of a parameter.
struct ReplicasRow {
  Axis sharers = Axis::kWorld;     // the same elements
  std::optional<Axis> parts = {};  // together the whole of all such parameters; none: each rank has them whole
  std::optional<Axis> cut = {};    // together the whole of one tensor, where it is cut
};
const ReplicasRow& row_of(Replicas replicas);

inline constexpr std::array kAllReplicas{Replicas::kWorld, Replicas::kData, Replicas::kExpertData,
                                         Replicas::kExpertParts};

}  // namespace parallel
