#include "launch/training/trainer.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "launch/evaluation/evaluation.h"
#include "launch/profiles/plan_file.h"
#include "launch/recipe/writer.h"
#include "launch/runs/build_id.h"
#include "launch/runs/clock.h"
#include "launch/runs/run_tokenizer.h"
#include "launch/training/step_recording.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/stream_mark.h"
#include "parallel/memory/kept_memory.h"

namespace launch {

Trainer::Agreed Trainer::agree(const PrefetchedBatches::Next& next) {
  int64_t targets = 0;
  for (const MicroBatch& batch : next.batches) targets += counted_targets(batch, *groups().mesh);
  const bool stop = interrupt_.requested() || progress_.reader_gone();
  const bool failed = next.fault != nullptr || (metrics_ != nullptr && metrics_->failed());
  at::Tensor sums = at::tensor({targets, int64_t{stop}, int64_t{failed}}, at::kLong);
  groups().control->all_reduce(sums, parallel::ReduceOp::kSum).wait();
  if (sums[2].item<int64_t>() > 0) {
    check_metrics_written();
    parallel::all_ranks(*groups().control, [&] {
      if (next.fault) std::rethrow_exception(next.fault);
    });
  }
  return {sums[0].item<int64_t>(), sums[1].item<int64_t>() > 0};
}

/// The one rank that writes metrics reports a failure to all, when all are there. Collective.
void Trainer::check_metrics_written() {
  parallel::all_ranks(*groups().control, [&] {
    if (metrics_ && metrics_->failed())
      parallel::user_error("cannot write ", metrics_->path().string(), ": disk full?");
  });
}

void Trainer::check_finite() {
  parallel::all_ranks(*groups().control, [&] {
    for (const CheckpointTensor& each : checkpoint_tensors()) {
      if (all_finite(each.tensor)) continue;
      end_diverged(
          Diverged(parallel::concat("after update ", update_, " ", each.path, " is not finite, so it is not saved")));
    }
  });
}

/// With what to do about it. What this process saved of weights that turn out to be of no use is no checkpoint any
/// more, so that a resumption takes the one before.
void Trainer::end_diverged(const Diverged& fault) const {
  // What a stage began with is the one before's, of which this one says nothing.
  const bool at_seam = history_.size() > 1 && update_ == setup_->part.begin;
  DivergenceFacts facts{.update = update_, .begun = at_seam ? -1 : begun_};
  if (!at_seam && last_saved_ == update_ && begun_ < update_)
    facts.aside = set_aside(checkpoint_path(folder_.path, update_));
  const std::vector<int64_t> there = checkpoint_updates(folder_.path);
  if (!there.empty()) facts.saved = there.back();
  if (there.size() > 1) facts.before = there[there.size() - 2];
  parallel::user_error(fault.what(), "; ", advice(recipe(), facts));
}

Trainer::End Trainer::train_stage() {
  page_faults_ = parallel::page_faults();  // those of setting up are no update's
  std::optional<PrefetchedBatches> reader;
  while (update_ < setup_->length && !given_up()) {
    if (!reader) reader.emplace(*setup_->batches, update_, setup_->length);
    const PrefetchedBatches::Next next = reader->take();
    groups().ledger->reset();  // evaluations and checkpoints are not an update's
    const Agreed agreed = agree(next);
    if (agreed.stop) return End::kInterrupted;
    StepReport report = step(next.batches, agreed.targets);
    report.seconds.data_wait = next.waited;
    ++update_;
    phase_seconds_ += report.seconds;
    dropped_ += report.dropped();
    for (const auto& [axis, traffic] : groups().ledger->by_axis()) bytes_[axis] += traffic.bytes;
    if (due(setup_->updates_of(recipe().train.log_every)) || update_ == setup_->length) log(report);
    if (due(setup_->updates_of(recipe().overlap.replan_every)) && update_ < setup_->length) {
      reader.reset();  // measuring reads, too
      measure_plan();
    }
    if (due(setup_->updates_of(recipe().evaluate.every)) && update_ < setup_->length) score();
    if (due(setup_->updates_of(recipe().checkpoint.every)) && update_ < setup_->length && last_saved_ != update_)
      save();
  }
  return End::kDone;
}

void Trainer::end_stage(End end) {
  const bool scores = end == End::kDone && recipe().evaluate.every.count > 0 && last_scored_ != update_;
  // The last checkpoint says of the best evaluation what a longer run would know; where nobody asks, saving is first.
  const bool tracks_best = recipe().checkpoint.keep_best || recipe().evaluate.patience > 0;
  if (scores && tracks_best) score();
  if (last_saved_ != update_) save();
  if (scores && !tracks_best) score();
}

Trainer::End Trainer::run() {
  if (!overlap_) return End::kDone;  // nothing to do
  End end = train_stage();
  end_stage(end);
  while (end == End::kDone && !is_last()) {
    cross();
    end = train_stage();
    end_stage(end);
  }
  if (metrics_) metrics_->write(EndRecord{update_, end == End::kDone ? "done" : "interrupted"});
  check_metrics_written();
  if (end == End::kInterrupted) {
    progress_.say(parallel::concat(progress_.reader_gone() ? "moetrain: nobody reads standard output any more; " : "",
                                   "interrupted after update ", update_,
                                   ", saved; the same command with --resume goes on"));
  }
  return end;
}

StepReport Trainer::step(const std::vector<MicroBatch>& batches, int64_t targets) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<MicroBatch> on_device = setup_->to_own_device(batches);
  const double copy_seconds = seconds_since(start);
  const bool traced = recipe().overlap.trace_update == update_ + 1;
  std::optional<parallel::TraceRecorder> recorder;
  if (traced) groups().mesh->schedule()->record(&recorder.emplace(parallel::clock_of(setup_->device)));
  StepReport report;
  try {
    report = train_step(setup_->state, on_device, targets, groups());
  } catch (const Diverged& fault) {
    end_diverged(fault);
  }
  groups().mesh->schedule()->record(nullptr);
  report.seconds.data = copy_seconds;
  if (recorder) keep_trace(recorder->trace());
  return report;
}

void Trainer::keep_trace(const parallel::Trace& trace) {
  const StepRecording recording = gather_recording(trace, update_ + 1, *overlap_, groups());
  parallel::all_ranks(*groups().control, [&] {
    if (groups().control->rank() == 0) write_file(folder_.trace(), trace_to_text(recording));
  });
  if (metrics_) metrics_->write(summary_of(recording));
}

void Trainer::log(const StepReport& report) {
  const int64_t updates = update_ - logged_update_;
  const double seconds = phase_seconds_.total();
  const double tokens_per_second = static_cast<double>(updates * setup_->scale.tokens_per_update) / seconds;
  progress_.show({.update = update_,
                  .length = length_,
                  .stage = stage().title,
                  .loss = report.total_loss(),
                  .gradient_norm = report.gradient_norm,
                  .imbalance = report.imbalance(),
                  .tokens_per_second = tokens_per_second,
                  .seconds_left = seconds / static_cast<double>(updates) * static_cast<double>(length_ - update_)});
  if (metrics_) {
    StepRecord record = record_of(report);
    record.step = update_;
    record.tokens = static_cast<double>(tokens());
    record.tokens_per_second = tokens_per_second;
    record.seconds = mean_seconds(phase_seconds_, updates);
    for (const auto& [axis, sum] : bytes_) record.bytes.emplace_back(axis, static_cast<double>(sum / updates));
    const double engine = groups().engine != nullptr ? groups().engine->cpu_seconds() : 0;
    record.mpi_thread_share = (engine - std::exchange(engine_seconds_, engine)) / seconds;
    const int64_t faults = parallel::page_faults();
    record.page_faults =
        static_cast<double>(faults - std::exchange(page_faults_, faults)) / static_cast<double>(updates);
    record.dropped = static_cast<double>(dropped_);
    record.sources = tokens_by_source(setup_->batches->source_tokens(update_));
    metrics_->write(record);
  }
  phase_seconds_ = {};
  dropped_ = 0;
  bytes_.clear();
  logged_update_ = update_;
}

std::vector<CheckpointTensor> Trainer::checkpoint_tensors() const {
  const TrainState& state = setup_->state;
  return training_tensors(*state.model, *state.reducer, *state.optimizer, *groups().mesh);
}

void Trainer::save() {
  check_finite();
  const auto start = std::chrono::steady_clock::now();
  const CheckpointInfo info{.update = update_,
                            .sequences = sequences(),
                            .tokens = tokens(),
                            .vocabulary = setup_->vocabulary(),
                            .tokenizer_hash = setup_->corpus->tokenizer_hash(),
                            .corpus = setup_->corpus->fingerprint(),
                            .recipe = write_recipe(recipe()),
                            .plan = plan_to_json(groups().mesh->schedule()->plan()).dump(),
                            .build = build_id(),
                            .best = best_,
                            .stages = stage().name.empty() ? "" : history_.to_text()};
  parallel::all_ranks(*groups().control, [&] {
    if (groups().control->rank() == 0) keep_tokenizer(folder_, setup_->corpus->tokenizer());
  });
  const int64_t bytes =
      write_checkpoint(checkpoint_path(folder_.path, update_), info, checkpoint_tensors(), *groups().control);
  if (groups().control->rank() == 0)
    prune_checkpoints(folder_.path, recipe().checkpoint.keep, recipe().checkpoint.keep_best ? best_.update : -1);
  last_saved_ = update_;
  if (metrics_) metrics_->write(CheckpointRecord{update_, seconds_since(start), static_cast<double>(bytes)});
}

void Trainer::score() {
  if (last_saved_ != update_) check_finite();
  const Evaluation result = evaluate(*setup_->state.model, *setup_->state.objective, *held_out_, groups());
  progress_.say(parallel::concat("held out, after update ", update_, ": ", describe(result.overall)));
  if (metrics_) metrics_->write(record_of(result, update_));
  last_scored_ = update_;
  judge(result.overall.loss());
}

/// Every rank judges the same loss, which was reduced over all. What a checkpoint says of the best so far includes the
/// evaluation of its own update, unless the run was killed in between; a resumed run then evaluates again.
void Trainer::judge(double loss) {
  if (best_.update >= 0 && !(loss < best_.loss)) {
    ++best_.since;
    if (given_up()) {
      progress_.say(parallel::concat("held-out loss was lowest after update ", best_.update, " and in ", best_.since,
                                     " evaluations since not lower (evaluate.patience): training ends"));
    }
    return;
  }
  best_ = {.update = update_, .loss = loss};
  if (recipe().checkpoint.keep_best) save();
}

}  // namespace launch
