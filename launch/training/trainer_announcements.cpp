// What a trainer says as it begins: to people, and into metrics.jsonl.
#include <algorithm>
#include <optional>

#include "launch/models/model_builder.h"
#include "launch/ranks/description.h"
#include "launch/ranks/mesh_notes.h"
#include "launch/ranks/processor.h"
#include "launch/runs/build_id.h"
#include "launch/runs/clock.h"
#include "launch/training/trainer.h"

namespace launch {
namespace {

/// The run's recipe with what a stage says of learning rate and length; whatever else it says may want another model.
Recipe rate_of(const Recipe& run, const std::string& stage) {
  const auto found = std::ranges::find(run.stages, stage, &StageOverlay::name);
  if (found == run.stages.end()) return run;
  StageOverlay overlay = *found;
  std::erase_if(overlay.keys, [](const auto& key) {
    return key.first != "train.length" && !key.first.starts_with("optimizer.") && !key.first.starts_with("schedule.");
  });
  return overlaid(run, overlay);
}

}  // namespace

void Trainer::announce_resumption(const Loaded& loaded) {
  for (const Loaded::Passed& passed : loaded.passed) {
    progress_.say(parallel::concat("warning: ", passed.reason, "; kept as ",
                                   aside_of(passed.checkpoint).filename().string(), ", and gone on from update ",
                                   loaded.update));
  }
  if (!before_) return;
  std::vector<std::string> changes;
  for (const ChangedKey& key : changed_keys(*before_, run_)) changes.push_back(key.describe());
  if (!changes.empty()) progress_.say("going on with other values: " + parallel::list_names(changes));
  const std::string jump = describe_learning_rate_jump(rate_of(*before_, stage().name), rate_of(run_, stage().name),
                                                       update_ - setup_->part.begin, setup_->scale);
  if (!jump.empty()) progress_.say(jump);
}

void Trainer::announce(bool resumed) {
  const moetrain::ParameterCount count = setup_->state.model->parameter_count();
  progress_.say(parallel::concat(resumed ? "resuming at update " + std::to_string(update_) : "training", " in ",
                                 folder_.path.string(), ": ", describe(recipe(), setup_->state.model->vocabulary())));
  progress_.say(parallel::concat(count.total, " parameters, ", count.active, " active for a token",
                                 count.trained < count.total ? parallel::concat(", ", count.trained, " trained") : "",
                                 "; ", groups().mesh->shape().describe(), "; threads each: ", recipe().run.threads,
                                 ", on ", recipe().run.device, "; ", length_, " updates of ",
                                 setup_->scale.tokens_per_update, " tokens; ", setup_->scale.tokens_per_epoch,
                                 " tokens an epoch"));
  if (const std::string slow = slow_precision(recipe().run); !slow.empty()) progress_.say(slow);
  announce_data();
  if (metrics_) write_start(resumed);
}

void Trainer::announce_data() {
  if (recipe().overlap.schedule != OverlapSchedule::kEager) progress_.say(overlap_->describe());
  const auto notes = mesh_notes(recipe(), groups().mesh->hosts(), setup_->scale.tokens_per_update);
  for (size_t i = 0; i < notes.size() && notes != said_notes_; ++i) progress_.say(notes[i]);
  said_notes_ = notes;
  for (const SourceTokens& source : setup_->batches->source_tokens(setup_->length)) progress_.say(describe(source));
  if (const std::string left_out = setup_->batches->left_out(); !left_out.empty()) progress_.say(left_out);
  const int64_t tensor = groups().mesh->shape().tensor;
  const int64_t idle = (groups().shard.count - setup_->batches->sequences_per_micro_batch()) * tensor;
  if (idle > 0) {
    progress_.say(parallel::concat("warning: ", idle, " of ", groups().control->size(), " ranks have no sequence in a ",
                                   "micro-batch of ", setup_->batches->sequences_per_micro_batch(), " and only wait"));
  }
}

void Trainer::announce_stage() {
  if (stage().name.empty()) return;
  const moetrain::ParameterCount count = setup_->state.model->parameter_count();
  int64_t carried = 0, trained = 0;
  for (const std::string& name : stage().trained) {
    ++trained;
    carried += history_.size() > 1 && history_.state_begin(stages_, name) < history_.begin() ? 1 : 0;
  }
  StageRecord record{.step = update_,
                     .number = static_cast<int64_t>(history_.size()),
                     .stages = static_cast<int64_t>(stages_.size()),
                     .name = stage().name};
  record.updates = setup_->length - setup_->part.begin;
  record.surgery = stage().surgery.any() ? stage().surgery.operation : "";
  record.model = describe(recipe(), setup_->state.model->vocabulary());
  record.parameters = {static_cast<double>(count.total), static_cast<double>(count.active),
                       static_cast<double>(count.trained)};
  record.carried = static_cast<double>(carried);
  if (metrics_) metrics_->write(record);
  const std::string surgery = record.surgery.empty() ? "" : record.surgery + ", then ";
  const std::string going_on = history_.size() == 1 ? ""
                                                    : parallel::concat("; the optimizer's state of ", carried, " of ",
                                                                       trained, " trained weights goes on");
  progress_.say(parallel::concat("stage ", stage().title, ", after update ", update_, ": ", surgery,
                                 setup_->length - setup_->part.begin, " updates; ", record.model, ", ", count.trained,
                                 " of ", count.total, " parameters trained", going_on));
}

void Trainer::write_start(bool resumed) {
  const moetrain::ParameterCount count = setup_->state.model->parameter_count();
  std::vector<ChangedKey> changes;
  if (before_) changes = changed_keys(*before_, run_);
  ResumeRecord record{start_record(run_, groups(), update_, before_ ? &changes : nullptr)};
  record.parameters = {static_cast<double>(count.total), static_cast<double>(count.active),
                       static_cast<double>(count.trained)};
  record.model = describe(recipe(), setup_->state.model->vocabulary());
  if (resumed) return metrics_->write(record);
  metrics_->write(static_cast<const StartRecord&>(record));
}

}  // namespace launch
