// defines: Mesh: the communicators of each axis
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/comm/communicator.h"
#include "parallel/mesh/axes.h"
#include "parallel/mesh/expert_map.h"
#include "parallel/schedule/schedule.h"

namespace parallel {

/// A rank's place in the layout, and the groups it works in. Cheap to share; every module that spreads over ranks keeps
/// one. Groups of one rank are local ones.
class Mesh {
 public:
  /// One rank alone.
  Mesh();
  /// Shapes only, as rank `rank` would see them: no group may be used.
  Mesh(const MeshConfig& config, int64_t ranks, int64_t rank);
  /// `tokens` and `gradients`: the same ranks, two traffic classes. `hosts`: by rank, equal numbers share a host;
  /// empty: all on one. UserError as mesh_shape. Collective over both.
  Mesh(const MeshConfig& config, std::shared_ptr<Communicator> tokens, std::shared_ptr<Communicator> gradients,
       std::vector<int64_t> hosts = {});

  const MeshConfig& config() const { return config_; }
  const MeshShape& shape() const { return shape_; }
  const MeshPlace& place() const { return place_; }
  /// By rank; equal numbers share a host.
  const std::vector<int64_t>& hosts() const { return hosts_; }
  Sharding sharding() const { return static_cast<Sharding>(config_.zero); }

  // What forward and backward exchange, over the axes that carry something:
  Communicator& group(Axis axis) const { return *tokens_[static_cast<size_t>(axis)]; }
  Communicator& tensor() const { return group(Axis::kTensor); }
  /// One rank of each tensor group: those with this rank's place on the tensor axis.
  Communicator& data() const { return group(Axis::kData); }
  Communicator& expert() const { return group(Axis::kExpert); }
  Communicator& expert_tensor() const { return group(Axis::kExpertTensor); }
  /// All ranks that together hold every expert once: expert x expert_tensor.
  Communicator& experts() const { return group(Axis::kExperts); }

  /// Whether a token goes once to each other host of the expert axis, and is spread there: as config().dispatch says,
  /// where the axis, or that of another part of the same experts, has several hosts. The same on all ranks of
  /// experts().
  bool dispatches_by_host() const { return expert_inside_ != nullptr; }
  /// hosts() of the ranks of the expert axis.
  std::vector<int64_t> expert_hosts() const { return expert_hosts(place_.expert_tensor); }
  /// Where dispatches_by_host(): the ranks of the expert axis on this rank's host, in their order on the axis.
  Communicator& expert_inside() const { return *expert_inside_; }

  /// Those that hold the same elements as this rank, in the traffic class of gradients.
  const std::shared_ptr<Communicator>& replicas(Replicas replicas) const {
    return gradients_[static_cast<size_t>(row_of(replicas).sharers)];
  }
  /// How many they are.
  int64_t sharers(Replicas replicas) const { return row_of(row_of(replicas).sharers).ranks(shape_); }

  /// What is exchanged over these axes when: the one thing here that changes during a run.
  const std::shared_ptr<Schedule>& schedule() const { return schedule_; }
  /// From the next update on. The same plan on every rank. @pre nothing is under way
  void follow(Plan plan) const;

 private:
  void follow(Plan plan, int64_t bound_of_world) const;
  std::vector<int64_t> expert_hosts(int64_t expert_tensor) const;
  /// Whether an expert axis among the ranks of experts() has several hosts.
  bool experts_cross_hosts() const;

  MeshConfig config_;
  MeshShape shape_;
  MeshPlace place_;
  std::vector<int64_t> hosts_;
  std::array<std::shared_ptr<Communicator>, kAxes> tokens_, gradients_;  // by Axis; null: none
  std::shared_ptr<Communicator> expert_inside_;
  std::shared_ptr<Schedule> schedule_ = std::make_shared<Schedule>();
};

}  // namespace parallel
