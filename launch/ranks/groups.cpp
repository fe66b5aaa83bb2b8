#include "launch/ranks/groups.h"

#include <utility>

#include "launch/ranks/same_devices.h"
#include "parallel/comm/accelerator_communicator.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/checked_communicator.h"
#include "parallel/comm/counting_communicator.h"
#include "parallel/comm/local_communicator.h"

namespace launch {

at::Device open_device(Device device, const parallel::MpiCommunicator& world) {
  if (device == Device::kCpu) return {at::kCPU};
  return parallel::open_accelerator(world.host_rank());
}

namespace {

void check_devices_of_all(parallel::Communicator& world, const std::vector<int64_t>& hosts) {
  const parallel::OpenedDevice own = parallel::opened_device();
  std::vector<parallel::OpenedDevice> all(static_cast<size_t>(world.size()));
  for (std::string parallel::OpenedDevice::*what :
       {&parallel::OpenedDevice::name, &parallel::OpenedDevice::id, &parallel::OpenedDevice::nccl}) {
    const std::vector<std::string> of_rank = parallel::gather_texts(world, own.*what);
    for (size_t r = 0; r < all.size(); ++r) all[r].*what = of_rank[r];
  }
  parallel::all_ranks(world, [&] { check_devices(all, hosts); });
}

}  // namespace

Groups make_groups(std::shared_ptr<parallel::MpiCommunicator> world, at::Device device, Checks checks,
                   const parallel::MeshConfig& mesh, std::vector<int64_t> hosts) {
  Groups groups;
  groups.engine = &world->engine();
  if (hosts.empty()) hosts = world->host_leaders();
  if (parallel::is_accelerator(device)) {
    check_devices_of_all(*world, hosts);
    groups.tokens = parallel::accelerator_communicator(*world, device);
    groups.gradients = parallel::accelerator_communicator(*world, device);
  } else {
    groups.tokens = world->duplicate();
    groups.gradients = world->duplicate();
  }
  if (checks == Checks::kCollectives) {
    const auto check = [&](std::shared_ptr<parallel::Communicator> group, const char* purpose) {
      return std::make_shared<parallel::CheckedCommunicator>(std::move(group), world->duplicate(), purpose);
    };
    groups.tokens = check(std::move(groups.tokens), "tokens");
    groups.gradients = check(std::move(groups.gradients), "gradients");
    groups.control = check(world->duplicate(), "control");  // the caller may go on with `world` itself
  } else {
    groups.control = std::move(world);
  }
  const auto count = [&](std::shared_ptr<parallel::Communicator> group, const std::string& axis) {
    return std::make_shared<parallel::CountingCommunicator>(std::move(group), axis, groups.ledger);
  };
  groups.tokens = count(std::move(groups.tokens), parallel::ledger_name(parallel::Axis::kWorld));
  groups.gradients =
      count(std::move(groups.gradients), parallel::ledger_name(parallel::Axis::kWorld, parallel::GroupUse::kGradients));
  groups.control = count(std::move(groups.control), "control");
  set_mesh(groups, mesh, std::move(hosts));
  return groups;
}

void set_mesh(Groups& groups, const parallel::MeshConfig& mesh, std::vector<int64_t> hosts) {
  groups.mesh = std::make_shared<const parallel::Mesh>(mesh, groups.tokens, groups.gradients, std::move(hosts));
  groups.shard = {.index = groups.mesh->place().data, .count = groups.mesh->shape().data};
}

Groups local_groups() {
  const auto alone = std::make_shared<parallel::LocalCommunicator>();
  return {.control = alone,
          .tokens = alone,
          .gradients = alone,
          .mesh = std::make_shared<const parallel::Mesh>(),
          .shard = {}};
}

}  // namespace launch
