// defines: MoeTables: what the names in [moe] mean
#pragma once
#include "moetrain/experts/expert.h"
#include "moetrain/losses/router_loss.h"
#include "moetrain/routers/router.h"

namespace moetrain {

struct MoeTables {
  parallel::NameTable<CapacityRule> capacities = builtin_capacities();  // moe.capacity
  parallel::NameTable<RouterPreset> routers = builtin_routers();        // moe.router
  parallel::NameTable<ExpertPreset> experts = builtin_experts();        // moe.expert
  parallel::NameTable<RouterLoss> losses = builtin_losses();            // keys of [moe.losses]
  std::vector<std::string> tasks = {};                                  // of the run, by number
};

}  // namespace moetrain
