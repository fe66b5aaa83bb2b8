#include "moetrain/objectives/objective.h"

namespace moetrain {

// Objectives that have a file of their own and no header.
ObjectivePreset rectified_flow();
ObjectivePreset ddpm();

parallel::NameTable<ObjectivePreset> builtin_objectives() {
  return {"objective",
          {{"next_token", next_token()},
           {"two_pass", two_pass()},
           {"distillation", distillation()},
           {"pre_gate", pre_gate_objective()},
           {"rectified_flow", rectified_flow()},
           {"ddpm", ddpm()}}};
}

}  // namespace moetrain
