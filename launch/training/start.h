// defines: read_start: a run's first weights, where train.start names some, by the surgery of its first stage
#pragma once
#include <map>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/stages/stage_plan.h"
#include "launch/training/setup.h"

namespace launch {

/// Fills the weights and buffers among `tensors`, and spreads them over the ranks; optimizer and data begin anew.
/// Returns the files that the model came in with (StartPoint). Nothing, where the recipe has no train.start. UserError,
/// on all ranks: what cannot be started from, another model, another tokenizer. Collective.
std::map<std::string, std::string> read_start(TrainingSetup& setup, const PlannedStage& first,
                                              const std::vector<CheckpointTensor>& tensors);

}  // namespace launch
