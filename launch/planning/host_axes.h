// Which ranks form a group on each axis of the mesh, and which of these groups have ranks of several hosts.
// defines: Cluster, HostAxis, host_axes, crosses_hosts
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/mesh/axes.h"

namespace launch {

struct Cluster {
  int64_t hosts = 1, ranks_per_host = 1;
  int64_t ranks() const { return hosts * ranks_per_host; }
};

struct HostAxis {
  std::string name;      // as the ledger calls it: "world", "tensor", "gradients.data" ...
  int64_t ranks = 1;     // of one of its groups
  bool crosses = false;  // a group has ranks of several hosts
  std::string what;      // what it carries
};

/// Every axis of more than one rank. Neighbours in rank share a host.
std::vector<HostAxis> host_axes(const parallel::MeshShape& mesh, const Cluster& cluster);

/// Whether any group of the axis has ranks of several hosts; false where it has but one rank.
bool crosses_hosts(const std::vector<HostAxis>& axes, parallel::Axis axis,
                   parallel::GroupUse use = parallel::GroupUse::kTokens);

}  // namespace launch
