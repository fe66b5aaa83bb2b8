// The model of a recipe, and what of it is trained.
// defines: build_model, learning_rate_factors, goes_by_tasks
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launch/recipe/recipe.h"

namespace launch {

/// The model of a recipe with its initial weights, on `device`; of one that is spread over a mesh this rank's part.
/// What train.frozen and [lora] freeze has requires_grad off. UserError where it cannot be laid out so, where a pattern
/// fits nothing, or where nothing is left to train.
std::shared_ptr<moetrain::Model> build_model(const Recipe& recipe, int64_t vocabulary, at::Device device,
                                             std::shared_ptr<const parallel::Mesh> mesh = nullptr);

/// optimizer.learning_rate_factors of the parameters with these names, in their order; 1 where no pattern fits.
std::vector<double> learning_rate_factors(const Recipe& recipe, const std::vector<std::string>& names);

/// Whether some router of its model goes by the task of a sequence.
bool goes_by_tasks(const Recipe& recipe);

}  // namespace launch
