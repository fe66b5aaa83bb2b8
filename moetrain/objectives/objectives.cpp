#include "moetrain/objectives/objective.h"

namespace moetrain {

// An objective that has a file of its own and no header.
ObjectivePreset rectified_flow();

parallel::NameTable<ObjectivePreset> builtin_objectives() {
  return {"objective",
          {{"next_token", next_token()},
           {"two_pass", two_pass()},
           {"distillation", distillation()},
           {"rectified_flow", rectified_flow()}}};
}

}  // namespace moetrain
