#include "parallel/mesh/mesh_table.h"

#include <algorithm>
#include <map>
#include <set>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

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
    std::set<int64_t>& group = spanned[row_of(axis).group(shape, shape.place(rank))];
    group.insert(hosts[static_cast<size_t>(rank)]);
    most = std::max(most, group.size());
  }
  return static_cast<int64_t>(most);
}

std::vector<std::string> mesh_table(const MeshShape& shape, const std::vector<int64_t>& hosts) {
  const size_t count = std::set<int64_t>(hosts.begin(), hosts.end()).size();
  std::vector<std::string> lines{
      concat("layout of ", shape.ranks(), " ranks on ", count, count == 1 ? " host" : " hosts"),
      line("axis", "ranks", "groups", "hosts of a group", "what the ranks of a group share")};
  for (const AxisRow& row : axis_rows()) {
    if (row.shares == nullptr) continue;
    const int64_t ranks = row.ranks(shape);
    lines.push_back(line(row.name, std::to_string(ranks), std::to_string(shape.ranks() / ranks),
                         std::to_string(hosts_of_a_group(shape, row.axis, hosts)), row.shares));
  }
  return lines;
}

}  // namespace parallel
