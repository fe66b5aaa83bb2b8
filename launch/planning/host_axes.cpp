#include "launch/planning/host_axes.h"

#include <algorithm>
#include <map>

namespace launch {
namespace {

using parallel::Axis;
using parallel::AxisRow;
using parallel::GroupUse;
using parallel::MeshShape;

bool has_several_hosts(const AxisRow& axis, const MeshShape& mesh, const Cluster& cluster) {
  std::map<int64_t, int64_t> host_of_group;
  for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
    const int64_t host = rank / cluster.ranks_per_host;
    const auto [found, fresh] = host_of_group.emplace(axis.group(mesh, mesh.place(rank)), host);
    if (!fresh && found->second != host) return true;
  }
  return false;
}

}  // namespace

std::vector<HostAxis> host_axes(const MeshShape& mesh, const Cluster& cluster) {
  std::vector<HostAxis> axes;
  const auto add = [&](const AxisRow& axis, GroupUse use, const char* what) {
    const int64_t ranks = axis.ranks(mesh);
    if (what == nullptr || ranks == 1) return;
    axes.push_back({ledger_name(axis.axis, use), ranks, has_several_hosts(axis, mesh, cluster), what});
  };
  for (const AxisRow& axis : parallel::axis_rows()) add(axis, GroupUse::kTokens, axis.carries);
  for (const AxisRow& axis : parallel::axis_rows()) {
    const bool unused = (axis.axis == Axis::kData && mesh.tensor == 1) ||  // every rank holds the dense part whole
                        (axis.axis == Axis::kExpertParts && mesh.expert_tensor == 1);
    if (!unused) add(axis, GroupUse::kGradients, axis.gradients);
  }
  return axes;
}

bool crosses_hosts(const std::vector<HostAxis>& axes, Axis axis, GroupUse use) {
  const auto found = std::ranges::find(axes, ledger_name(axis, use), &HostAxis::name);
  return found != axes.end() && found->crosses;
}

}  // namespace launch
