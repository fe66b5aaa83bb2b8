// From one stage to the next: the model as the last checkpoint has it, or what surgery makes of that, and what of the
// optimizer's state goes on. defines: Delivery, make_offspring, operate_on, cross_seam
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/stages/stage_plan.h"
#include "launch/surgery/operation.h"

namespace launch {

struct Delivery {
  std::vector<Parent> parents;  // whom `made` is taken from
  Offspring made;
};

/// A stage's surgery as its operation plans it, on `parent` and the others that it names. UserError as of `transform`.
/// @pre it has some
Delivery make_offspring(const PlannedStage& stage, Parent parent);

/// Fills this rank's parts of a stage's weights and buffers from `weights` (a checkpoint, or whatever else
/// open_stored_weights opens) by its surgery; element by element what `transform` would write. No collective.
void operate_on(const std::filesystem::path& weights, const PlannedStage& stage, const std::string& tokenizer_hash,
                const std::vector<CheckpointTensor>& tensors);

/// The state in which a stage begins, of the checkpoint in which the one before it ended: weights and buffers, by
/// surgery where there is some, and the optimizer's state of those parameters that `carried` names; that of others is
/// as the optimizer has made it, and a running mean of weights begins with them. UserError where it does not fit,
/// DamagedCheckpoint where it cannot be read. No collective.
void cross_seam(const std::filesystem::path& checkpoint, const PlannedStage& stage, const std::string& tokenizer_hash,
                const std::vector<CheckpointTensor>& tensors,
                const std::function<bool(const std::string& name)>& carried);

}  // namespace launch
