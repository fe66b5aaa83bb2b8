#include "parallel/mesh/mesh.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/comm/counting_communicator.h"
#include "parallel/comm/local_communicator.h"

namespace parallel {
namespace {

/// The ranks of one group of the axis, in the order of `from`, counted by its name where `from` is counted. Collective.
std::shared_ptr<Communicator> group_of(const AxisRow& axis, GroupUse use, const MeshShape& shape,
                                       const MeshPlace& place, const std::shared_ptr<Communicator>& from) {
  const int64_t size = axis.ranks(shape);
  if (size == 1) return std::make_shared<LocalCommunicator>();
  const std::string name = ledger_name(axis.axis, use);
  if (size == from->size()) return counted_as(name, from->duplicate());
  auto group = from->split(axis.group(shape, place), from->rank());
  check_internal(group->size() == size, "Mesh: an axis of ", size, " ranks came out as ", group->size());
  return counted_as(name, std::move(group));
}

}  // namespace

Mesh::Mesh() : Mesh({}, std::make_shared<LocalCommunicator>(), std::make_shared<LocalCommunicator>()) {}

Mesh::Mesh(const MeshConfig& config, int64_t ranks, int64_t rank)
    : config_(config),
      shape_(mesh_shape(config, ranks)),
      place_(shape_.place(rank)),
      hosts_(static_cast<size_t>(ranks), 0) {}

Mesh::Mesh(const MeshConfig& config, std::shared_ptr<Communicator> tokens, std::shared_ptr<Communicator> gradients,
           std::vector<int64_t> hosts)
    : Mesh(config, tokens->size(), tokens->rank()) {
  if (!hosts.empty()) hosts_ = std::move(hosts);
  check_internal(static_cast<int64_t>(hosts_.size()) == tokens->size(), "Mesh: hosts of ", hosts_.size(),
                 " ranks, not ", tokens->size());
  for (const AxisRow& axis : axis_rows()) {
    auto& here = tokens_[static_cast<size_t>(axis.axis)];
    auto& sums = gradients_[static_cast<size_t>(axis.axis)];
    const bool all = axis.axis == Axis::kWorld, dense_whole = axis.axis == Axis::kData && shape_.tensor == 1;
    if (all || dense_whole) {
      here = tokens;
    } else if (axis.carries != nullptr || axis.axis == Axis::kData) {
      here = group_of(axis, GroupUse::kTokens, shape_, place_, tokens);
    }
    // Where experts are whole, what all parts of an expert hold is what a rank has of the others.
    const bool experts_whole = axis.axis == Axis::kExpertParts && shape_.expert_tensor == 1;
    if (experts_whole) {
      sums = gradients_[static_cast<size_t>(Axis::kExpertData)];
    } else if (axis.gradients != nullptr) {
      sums = all ? gradients : group_of(axis, GroupUse::kGradients, shape_, place_, gradients);
    }
    if (axis.lane != Link::kNone) here->take_lane({axis.lane});
  }
  if (config.dispatch == Dispatch::kHierarchical && experts_cross_hosts()) {
    // By all ranks of the axis, also one that is alone on its host.
    expert_inside_ =
        counted_as("expert.inside", expert().split(expert_hosts()[static_cast<size_t>(place_.expert)], place_.expert));
  }
  follow({}, Lane::kAsItIs);  // other meshes have the world's communicator too
}

void Mesh::follow(Plan plan) const {
  const int64_t bound = plan.carve_out;
  follow(std::move(plan), bound);
}

void Mesh::follow(Plan plan, int64_t bound_of_world) const {
  const bool one_link = plan.one_link && expert_tensor().issues_as_called();  // else ranks could wait for each other
  const AxisRow& whole = row_of(one_link ? Axis::kExpert : Axis::kExpertTensor);
  const int64_t bound = plan.carve_out;
  expert().take_lane({.link = row_of(Axis::kExpert).lane, .multiprocessors = bound});
  expert_tensor().take_lane({.link = whole.lane, .multiprocessors = bound});
  if (expert_inside_) expert_inside_->take_lane({.multiprocessors = bound});
  for (const auto& sums : gradients_) {
    const bool world = sums == gradients_[static_cast<size_t>(Axis::kWorld)];
    if (sums) {
      sums->take_lane({.link = Link::kBetweenHosts, .yields = true, .multiprocessors = world ? bound_of_world : bound});
    }
  }
  schedule_->follow(std::move(plan));
}

std::vector<int64_t> Mesh::expert_hosts(int64_t expert_tensor) const {
  std::vector<int64_t> hosts;
  for (int64_t x = 0; x < shape_.expert; ++x) {
    const int64_t rank = (place_.expert_data * shape_.expert + x) * shape_.expert_tensor + expert_tensor;
    hosts.push_back(hosts_[static_cast<size_t>(rank)]);
  }
  return hosts;
}

bool Mesh::experts_cross_hosts() const {
  for (int64_t part = 0; part < shape_.expert_tensor; ++part) {
    const std::vector<int64_t> hosts = expert_hosts(part);
    if (std::ranges::adjacent_find(hosts, std::not_equal_to()) != hosts.end()) return true;
  }
  return false;
}

}  // namespace parallel
