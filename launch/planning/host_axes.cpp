#include "launch/planning/host_axes.h"

#include <algorithm>
#include <map>

namespace launch {
namespace {

using parallel::MeshPlace;
using parallel::MeshShape;

struct AxisRule {
  const char* name;
  int64_t (*ranks)(const MeshShape& mesh);
  int64_t (*group)(const MeshShape& mesh, const MeshPlace& place);  // equal for ranks of one group
  const char* what;
};

int64_t one_group(const MeshShape&, const MeshPlace&) { return 0; }
int64_t same_expert_data(const MeshShape&, const MeshPlace& place) { return place.expert_data; }

constexpr AxisRule kAxisRules[] = {
    {"world", [](const MeshShape& mesh) { return mesh.ranks(); }, &one_group, "how often each expert is chosen"},
    {"tensor", [](const MeshShape& mesh) { return mesh.tensor; },
     [](const MeshShape&, const MeshPlace& place) { return place.data; }, "tokens of dense layers"},
    {"expert", [](const MeshShape& mesh) { return mesh.expert; },
     [](const MeshShape& mesh, const MeshPlace& place) {
       return place.expert_data * mesh.expert_tensor + place.expert_tensor;
     },
     "rows to their experts and back"},
    {"expert_tensor", [](const MeshShape& mesh) { return mesh.expert_tensor; },
     [](const MeshShape& mesh, const MeshPlace& place) { return place.expert_data * mesh.expert + place.expert; },
     "rows to all ranks of an expert, and its sums"},
    {"experts", [](const MeshShape& mesh) { return mesh.expert * mesh.expert_tensor; }, &same_expert_data,
     "counts of rows"},
    {"gradients.world", [](const MeshShape& mesh) { return mesh.ranks(); }, &one_group,
     "gradients of what every rank holds"},
    {"gradients.data", [](const MeshShape& mesh) { return mesh.tensor > 1 ? mesh.data : 1; },
     [](const MeshShape&, const MeshPlace& place) { return place.tensor; }, "gradients of what tensor groups divide"},
    {"gradients.expert_data", [](const MeshShape& mesh) { return mesh.expert_data; },
     [](const MeshShape& mesh, const MeshPlace& place) {
       return place.expert * mesh.expert_tensor + place.expert_tensor;
     },
     "gradients of experts"},
};

bool has_several_hosts(const AxisRule& rule, const MeshShape& mesh, const Cluster& cluster) {
  std::map<int64_t, int64_t> host_of_group;
  for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
    const int64_t host = rank / cluster.ranks_per_host;
    const auto [found, fresh] = host_of_group.emplace(rule.group(mesh, mesh.place(rank)), host);
    if (!fresh && found->second != host) return true;
  }
  return false;
}

}  // namespace

std::vector<HostAxis> host_axes(const MeshShape& mesh, const Cluster& cluster) {
  std::vector<HostAxis> axes;
  for (const AxisRule& rule : kAxisRules) {
    const int64_t ranks = rule.ranks(mesh);
    if (ranks == 1) continue;
    axes.push_back({rule.name, ranks, has_several_hosts(rule, mesh, cluster), rule.what});
  }
  return axes;
}

bool crosses_hosts(const std::vector<HostAxis>& axes, const std::string& name) {
  const auto found = std::ranges::find(axes, name, &HostAxis::name);
  return found != axes.end() && found->crosses;
}

}  // namespace launch
