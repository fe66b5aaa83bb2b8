#include "moetrain/objectives/objective.h"

namespace moetrain {

parallel::NameTable<ObjectivePreset> builtin_objectives() {
  return {"objective", {{"next_token", next_token()}, {"two_pass", two_pass()}, {"distillation", distillation()}}};
}

}  // namespace moetrain
