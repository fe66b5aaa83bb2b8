// From one stage to the next: the model as the last checkpoint has it, or what surgery makes of that, and what of the
// optimizer's state goes on. defines: Delivery, make_offspring, records_use, Seam, operate_on,
// cross_seam
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"
#include "launch/stages/stage_plan.h"
#include "launch/surgery/operation.h"
#include "launch/use/expert_use.h"

namespace launch {

struct Delivery {
  std::vector<Parent> parents;  // whom `made` is taken from
  Offspring made;
};

/// A stage's surgery as its operation plans it, on `parent` and the others that it names. UserError as of `transform`.
/// @pre it has some
Delivery make_offspring(const PlannedStage& stage, Parent parent);

/// Whether a stage's surgery goes by the use of experts that is recorded when it begins (kUseOfSeam).
bool records_use(const PlannedStage& stage);

/// What a stage begins from.
struct Seam {
  std::filesystem::path weights;  // a checkpoint, or whatever else open_stored_weights opens
  std::string tokenizer_hash;
  std::shared_ptr<const ExpertUse> use = {};  // of that model, where the stage asks for it
};

/// Fills this rank's parts of a stage's weights and buffers from the seam's by its surgery; element by element what
/// `transform` would write. No collective.
void operate_on(const Seam& seam, const PlannedStage& stage, const std::vector<CheckpointTensor>& tensors);

/// The state in which a stage begins, of the checkpoint in which the one before it ended, the seam's: weights and
/// buffers, by surgery where there is some, and the optimizer's state of those parameters that `carried` names; that of
/// others is as the optimizer has made it, and a running mean of weights begins with them. UserError where it does not
/// fit, DamagedCheckpoint where it cannot be read. No collective.
void cross_seam(const Seam& seam, const PlannedStage& stage, const std::vector<CheckpointTensor>& tensors,
                const std::function<bool(const std::string& name)>& carried);

}  // namespace launch
