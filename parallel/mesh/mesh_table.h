// defines: mesh_table, hosts_of_a_group: the axes of a layout, and how many hosts each spans
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/mesh/axes.h"

namespace parallel {

/// Of the groups of an axis that with most hosts. `hosts`: by rank, equal numbers share a host.
int64_t hosts_of_a_group(const MeshShape& shape, Axis axis, const std::vector<int64_t>& hosts);

/// Lines of a table: each axis with its ranks, how many such groups there are, and the hosts that a group spans.
std::vector<std::string> mesh_table(const MeshShape& shape, const std::vector<int64_t>& hosts);

}  // namespace parallel
