#include "parallel/mesh/mesh.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "parallel/base/fault.h"
#include "parallel/comm/counting_communicator.h"
#include "parallel/comm/local_communicator.h"

namespace parallel {
namespace {

/// The ranks with the same `color`, in the order of `from`, counted as `name` where `from` is counted. Collective.
std::shared_ptr<Communicator> axis(const char* name, const std::shared_ptr<Communicator>& from, int64_t color,
                                   int64_t size) {
  if (size == 1) return std::make_shared<LocalCommunicator>();
  if (size == from->size()) return counted_as(name, from->duplicate());
  auto group = from->split(color, from->rank());
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
  const auto& [data, tensor, expert_data, expert, expert_tensor] = place_;
  const int64_t block = shape_.expert * shape_.expert_tensor;
  tensor_ = axis("tensor", tokens, data, shape_.tensor);
  data_ = shape_.tensor == 1 ? tokens : axis("data", tokens, tensor, shape_.data);
  expert_ = axis("expert", tokens, expert_data * shape_.expert_tensor + expert_tensor, shape_.expert);
  expert_tensor_ = axis("expert_tensor", tokens, expert_data * shape_.expert + expert, shape_.expert_tensor);
  experts_ = axis("experts", tokens, expert_data, block);
  if (config.dispatch == Dispatch::kHierarchical && experts_cross_hosts()) {
    // By all ranks of the axis, also one that is alone on its host.
    expert_inside_ = counted_as("expert.inside", expert_->split(expert_hosts()[static_cast<size_t>(expert)], expert));
  }
  data_gradients_ = axis("gradients.data", gradients, tensor, shape_.data);
  expert_data_gradients_ = axis("gradients.expert_data", gradients, tokens->rank() % block, shape_.expert_data);
  world_gradients_ = std::move(gradients);
  // Tokens of experts and gradients share the wire between hosts: each chunk has it whole, and gradients give way.
  expert_->take_lane({Link::kBetweenHosts});
  for (const auto& group : {world_gradients_, data_gradients_, expert_data_gradients_}) {
    group->take_lane({Link::kBetweenHosts, /*yields=*/true});
  }
  follow({});
}

void Mesh::follow(Plan plan) const {
  const bool one_link = plan.one_link && expert_tensor_->issues_as_called();  // else ranks could wait for each other
  expert_tensor_->take_lane({one_link ? Link::kBetweenHosts : Link::kInsideHost});
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

int64_t Mesh::sharers(Replicas replicas) const {
  switch (replicas) {
    case Replicas::kWorld:
      return shape_.ranks();
    case Replicas::kData:
      return shape_.data;
    case Replicas::kExpertData:
      return shape_.expert_data;
  }
  throw InternalError("Mesh: no such replicas");
}

const std::shared_ptr<Communicator>& Mesh::replicas(Replicas replicas) const {
  switch (replicas) {
    case Replicas::kWorld:
      return world_gradients_;
    case Replicas::kData:
      return data_gradients_;
    case Replicas::kExpertData:
      return expert_data_gradients_;
  }
  throw InternalError("Mesh: no such replicas");
}

}  // namespace parallel
