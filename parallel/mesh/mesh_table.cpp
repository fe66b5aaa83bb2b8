#include "parallel/mesh/mesh_table.h"

#include <algorithm>
#include <map>
#include <set>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

/// Equal for ranks of one group of the axis.
int64_t group_of(const MeshShape& shape, Axis axis, int64_t rank) {
  const MeshPlace place = shape.place(rank);
  switch (axis) {
    case Axis::kData:
      return place.tensor;
    case Axis::kTensor:
      return place.data;
    case Axis::kExpertData:
      return place.expert * shape.expert_tensor + place.expert_tensor;
    case Axis::kExpert:
      return place.expert_data * shape.expert_tensor + place.expert_tensor;
    case Axis::kExpertTensor:
      return place.expert_data * shape.expert + place.expert;
  }
  throw InternalError("mesh_table: no such axis");
}

struct Row {
  const char* name;
  Axis axis;
  int64_t ranks;
  const char* shares;
};

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string line(const std::string& name, const std::string& ranks, const std::string& groups, const std::string& hosts,
                 const std::string& shares) {
  return "  " + padded(name, 15) + padded(ranks, 7) + padded(groups, 8) + padded(hosts, 18) + shares;
}

}  // namespace

int64_t hosts_of_a_group(const MeshShape& shape, Axis axis, const std::vector<int64_t>& hosts) {
  std::map<int64_t, std::set<int64_t>> spanned;
  size_t most = 1;
  for (int64_t rank = 0; rank < shape.ranks(); ++rank) {
    std::set<int64_t>& group = spanned[group_of(shape, axis, rank)];
    group.insert(hosts[static_cast<size_t>(rank)]);
    most = std::max(most, group.size());
  }
  return static_cast<int64_t>(most);
}

std::vector<std::string> mesh_table(const MeshShape& shape, const std::vector<int64_t>& hosts) {
  const Row rows[] = {{"data", Axis::kData, shape.data, "dense part: the same weights, other tokens"},
                      {"tensor", Axis::kTensor, shape.tensor, "dense part: heads, hidden units, vocabulary"},
                      {"expert_data", Axis::kExpertData, shape.expert_data, "experts: the same weights, other tokens"},
                      {"expert", Axis::kExpert, shape.expert, "experts: each whole on one rank"},
                      {"expert_tensor", Axis::kExpertTensor, shape.expert_tensor, "experts: hidden units of each"}};
  const size_t count = std::set<int64_t>(hosts.begin(), hosts.end()).size();
  std::vector<std::string> lines{
      concat("layout of ", shape.ranks(), " ranks on ", count, count == 1 ? " host" : " hosts"),
      line("axis", "ranks", "groups", "hosts of a group", "what the ranks of a group share")};
  for (const Row& row : rows) {
    lines.push_back(line(row.name, std::to_string(row.ranks), std::to_string(shape.ranks() / row.ranks),
                         std::to_string(hosts_of_a_group(shape, row.axis, hosts)), row.shares));
  }
  return lines;
}

}  // namespace parallel
