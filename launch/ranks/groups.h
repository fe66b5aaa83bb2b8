// defines: Groups, make_groups, open_device: the communicators of a run, one for each traffic class
#pragma once
#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

#include "data/shard.h"
#include "launch/recipe/run_config.h"
#include "parallel/comm/mpi_communicator.h"
#include "parallel/comm/traffic_ledger.h"
#include "parallel/mesh/mesh.h"

namespace launch {

/// Each class is ordered apart, so a gradient bucket under way never delays a router's counts. All that make_groups
/// makes is counted in the ledger, outside the checks, as axes control, world, data, tensor, expert, expert_tensor,
/// expert.inside, experts, gradients.world, gradients.data and gradients.expert_data (Mesh; an axis of one rank moves
/// nothing).
struct Groups {
  std::shared_ptr<parallel::Communicator> control;    // CPU tensors: agreement, metrics, checkpoints
  std::shared_ptr<parallel::Communicator> tokens;     // tensors of the device: what forward exchanges
  std::shared_ptr<parallel::Communicator> gradients;  // tensors of the device: what backward sums
  std::shared_ptr<const parallel::Mesh> mesh;         // the same ranks by axes
  data::Shard shard;                                  // this rank's part of every micro-batch
  const parallel::MpiEngine* engine = nullptr;        // what carries MPI; null without MPI
  std::shared_ptr<parallel::TrafficLedger> ledger = std::make_shared<parallel::TrafficLedger>();  // of this rank
};

/// The CPU, or this rank's GPU (UserError where there is none). Collective.
at::Device open_device(Device device, const parallel::MpiCommunicator& world);

/// `mesh` divides the ranks (mesh_shape). `hosts`: by rank, equal numbers share a host; empty: as MPI finds them.
/// Collective over `world`.
Groups make_groups(std::shared_ptr<parallel::MpiCommunicator> world, at::Device device, Checks checks,
                   const parallel::MeshConfig& mesh = {}, std::vector<int64_t> hosts = {});

/// Axes and share of the data over the groups' `tokens` and `gradients`; `hosts` as Mesh takes them. Collective.
void set_mesh(Groups& groups, const parallel::MeshConfig& mesh, std::vector<int64_t> hosts);

/// A group of one, without MPI.
Groups local_groups();

}  // namespace launch
