// What a trainer says as it begins: to people, and into metrics.jsonl.
#include <optional>

#include "launch/models/model_builder.h"
#include "launch/ranks/description.h"
#include "launch/ranks/mesh_notes.h"
#include "launch/runs/build_id.h"
#include "launch/runs/clock.h"
#include "launch/training/trainer.h"

namespace launch {

void Trainer::announce_resumption(const Loaded& loaded) {
  for (const Loaded::Passed& passed : loaded.passed) {
    progress_.say(parallel::concat("warning: ", passed.reason, "; kept as ",
                                   aside_of(passed.checkpoint).filename().string(), ", and gone on from update ",
                                   loaded.update));
  }
  if (!before_) return;
  std::vector<std::string> changes;
  for (const ChangedKey& key : changed_keys(*before_, recipe_)) changes.push_back(key.describe());
  if (!changes.empty()) progress_.say("going on with other values: " + parallel::list_names(changes));
  const std::string jump = describe_learning_rate_jump(*before_, recipe_, update_, setup_.scale);
  if (!jump.empty()) progress_.say(jump);
}

void Trainer::announce(bool resumed) {
  const moetrain::ParameterCount count = setup_.state.model->parameter_count();
  const std::string model = describe(recipe_, setup_.state.model->vocabulary());
  progress_.say(parallel::concat(resumed ? "resuming at update " + std::to_string(update_) : "training", " in ",
                                 folder_.path.string(), ": ", model));
  progress_.say(parallel::concat(count.total, " parameters, ", count.active, " active for a token",
                                 count.trained < count.total ? parallel::concat(", ", count.trained, " trained") : "",
                                 "; ", groups_.mesh->shape().describe(), "; threads each: ", recipe_.run.threads,
                                 ", on ", recipe_.run.device, "; ", setup_.length, " updates of ",
                                 setup_.scale.tokens_per_update, " tokens; ", setup_.scale.tokens_per_epoch,
                                 " tokens an epoch"));
  if (recipe_.overlap.schedule != OverlapSchedule::kEager) progress_.say(overlap_->describe());
  for (const std::string& note : mesh_notes(recipe_, groups_.mesh->hosts(), setup_.scale.tokens_per_update)) {
    progress_.say(note);
  }
  for (const SourceTokens& source : setup_.batches->source_tokens(setup_.length)) progress_.say(describe(source));
  if (const std::string left_out = setup_.batches->left_out(); !left_out.empty()) progress_.say(left_out);
  const int64_t tensor = groups_.mesh->shape().tensor;
  const int64_t idle = (groups_.shard.count - setup_.batches->sequences_per_micro_batch()) * tensor;
  if (idle > 0) {
    progress_.say(parallel::concat("warning: ", idle, " of ", groups_.control->size(), " ranks have no sequence in a ",
                                   "micro-batch of ", setup_.batches->sequences_per_micro_batch(), " and only wait"));
  }
  if (metrics_) write_start(resumed, count, model);
}

void Trainer::write_start(bool resumed, const moetrain::ParameterCount& count, const std::string& model) {
  std::vector<ChangedKey> changes;
  if (before_) changes = changed_keys(*before_, recipe_);
  ResumeRecord record{start_record(recipe_, groups_, update_, before_ ? &changes : nullptr)};
  record.parameters = {static_cast<double>(count.total), static_cast<double>(count.active),
                       static_cast<double>(count.trained)};
  record.model = model;
  if (resumed) return metrics_->write(record);
  metrics_->write(static_cast<const StartRecord&>(record));
}

}  // namespace launch
