// defines: make_train_state: a recipe's model, objective, reducer and optimizer
#pragma once
#include <memory>

#include "launch/recipe/recipe.h"
#include "launch/training/train_step.h"
#include "parallel/mesh/mesh.h"

namespace launch {

/// From scratch, on the ranks of `mesh`. `teacher`: of a distillation, else null. `length`: updates, which the learning
/// rate's schedule looks at. Every rank makes one.
TrainState make_train_state(const Recipe& recipe, int64_t vocabulary, at::Device device,
                            const std::shared_ptr<const parallel::Mesh>& mesh,
                            const std::shared_ptr<moetrain::Model>& teacher, int64_t length,
                            const parallel::SpanScale& scale);

}  // namespace launch
