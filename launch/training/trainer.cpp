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
#include "launch/runs/run_chat.h"
#include "launch/runs/run_tokenizer.h"
#include "launch/runs/start_point.h"
#include "launch/training/start.h"
#include "launch/training/step_recording.h"
#include "parallel/comm/agreement.h"
#include "parallel/comm/stream_work.h"
#include "parallel/memory/kept_memory.h"

namespace launch {

Trainer::Trainer(const Recipe& recipe, Groups groups, at::Device device, const Interrupt& interrupt,
                 const TrainerOptions& options)
    : setup_(recipe, std::move(groups), device),
      folder_{recipe.run.folder},
      interrupt_(interrupt),
      progress_(groups_.control->rank() == 0 ? options.progress : ProgressDisplay::Style::kSilent) {
  parallel::all_ranks(*groups_.control, [&] {
    if (recipe_.evaluate.every.count > 0) {
      held_out_ = make_held_out_batches(*setup_.corpus, recipe_, groups_.shard);
    }
  });
  claim_folder(options.resume);
  setup_.build();
  const Loaded loaded = options.resume ? resume() : Loaded{};
  if (loaded.update < 0) came_with_ = read_start(setup_, checkpoint_tensors());
  begun_ = update_;
  if (loaded.update >= 0 && loaded.passed.empty() && given_up() && update_ < setup_.length) {
    progress_.say(parallel::concat("nothing to do: evaluate.patience = ", recipe_.evaluate.patience, " has ended the ",
                                   "run at update ", update_, ", saved in ", folder_.path.string(),
                                   "; a larger one goes on"));
    return;
  }
  if (loaded.update >= 0 && loaded.passed.empty() && update_ >= setup_.length) {
    progress_.say(parallel::concat("nothing to do: update ", update_, " is saved in ", folder_.path.string(),
                                   ", and train.length (\"", to_string(recipe_.train.length), "\") is ", setup_.length,
                                   " updates; a longer one goes on"));
    return;
  }
  if (options.resume && loaded.update < 0) {
    progress_.say("--resume: no checkpoint in " + folder_.path.string() + ", so the run begins");
  }
  begin(loaded);
}

/// Nothing that may still be refused changes what is there.
void Trainer::claim_folder(bool resume) {
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() != 0) return;
    lock_ = std::make_unique<RunLock>(folder_.path);
    before_ = check_run_folder(folder_, recipe_, resume);
  });
  if (lock_ && !lock_->warning().empty()) progress_.say(lock_->warning());
}

Loaded Trainer::resume() {
  Loaded loaded = load_newest_usable(folder_.path, *groups_.control,
                                     [&](const std::filesystem::path& checkpoint) { read_state(checkpoint); });
  if (loaded.update >= 0) setup_.state.reducer->gather_parameters();
  return loaded;
}

void Trainer::read_state(const std::filesystem::path& checkpoint) {
  const CheckpointInfo info = read_checkpoint_info(checkpoint);
  if (info.tokenizer_hash != setup_.corpus->tokenizer_hash()) {
    parallel::user_error(checkpoint.string(), " was trained with another tokenizer (", info.tokenizer_hash,
                         ") than that of ", recipe_.data.file, " (", setup_.corpus->tokenizer_hash(), ")");
  }
  if (info.corpus != setup_.corpus->fingerprint()) {
    parallel::user_error(checkpoint.string(), " was trained on another text than ", recipe_.data.file,
                         " holds, so its data position means nothing there; legal: the token file of that run ",
                         "(of several, in their order and with their weights)");
  }
  read_checkpoint(checkpoint, checkpoint_tensors());
  setup_.state.optimizer->resume_at(info.update);
  update_ = last_saved_ = logged_update_ = info.update;
  best_ = info.best;
}

/// From here on the run folder is written.
void Trainer::begin(const Loaded& loaded) {
  const bool resumed = loaded.update >= 0;
  if (!resumed && groups_.control->rank() == 0) forget_attempt(folder_);
  overlap_ = std::make_unique<Overlap>(recipe_.overlap, folder_, groups_, setup_.machine());
  const bool measure = overlap_->wants_profile([&](const std::string& text) { progress_.say(text); });
  if (!measure) overlap_->use_stored();
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() != 0) return;
    metrics_ = std::make_unique<MetricsFile>(folder_.metrics());
    write_file(folder_.recipe(), write_recipe(recipe_));
    keep_came_with(folder_.path, came_with_);
    keep_chat(folder_, setup_.corpus->chat());
    for (const Loaded::Passed& passed : loaded.passed) set_aside(passed.checkpoint);
  });
  if (measure) measure_plan();
  announce(resumed);
  if (resumed) announce_resumption(loaded);
}

void Trainer::measure_plan() { overlap_->use(setup_.profile(update_)); }

Trainer::Agreed Trainer::agree(const PrefetchedBatches::Next& next) {
  int64_t targets = 0;
  for (const MicroBatch& batch : next.batches) targets += counted_targets(batch, *groups_.mesh);
  const bool stop = interrupt_.requested() || progress_.reader_gone();
  const bool failed = next.fault != nullptr || (metrics_ != nullptr && metrics_->failed());
  at::Tensor sums = at::tensor({targets, int64_t{stop}, int64_t{failed}}, at::kLong);
  groups_.control->all_reduce(sums, parallel::ReduceOp::kSum).wait();
  if (sums[2].item<int64_t>() > 0) {
    check_metrics_written();
    parallel::all_ranks(*groups_.control, [&] {
      if (next.fault) std::rethrow_exception(next.fault);
    });
  }
  return {sums[0].item<int64_t>(), sums[1].item<int64_t>() > 0};
}

/// The one rank that writes metrics reports a failure to all, when all are there. Collective.
void Trainer::check_metrics_written() {
  parallel::all_ranks(*groups_.control, [&] {
    if (metrics_ && metrics_->failed())
      parallel::user_error("cannot write ", metrics_->path().string(), ": disk full?");
  });
}

void Trainer::check_finite() {
  parallel::all_ranks(*groups_.control, [&] {
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
  DivergenceFacts facts{.update = update_, .begun = begun_};
  if (last_saved_ == update_ && begun_ < update_) facts.aside = set_aside(checkpoint_path(folder_.path, update_));
  const std::vector<int64_t> there = checkpoint_updates(folder_.path);
  if (!there.empty()) facts.saved = there.back();
  if (there.size() > 1) facts.before = there[there.size() - 2];
  parallel::user_error(fault.what(), "; ", advice(recipe_, facts));
}

Trainer::End Trainer::run() {
  End end = End::kDone;
  if (!overlap_) return end;  // nothing to do
  std::optional<PrefetchedBatches> reader;
  while (update_ < setup_.length && !given_up()) {
    if (!reader) reader.emplace(*setup_.batches, update_, setup_.length);
    const PrefetchedBatches::Next next = reader->take();
    groups_.ledger->reset();  // evaluations and checkpoints are not an update's
    const Agreed agreed = agree(next);
    if (agreed.stop) {
      end = End::kInterrupted;
      break;
    }
    StepReport report = step(next.batches, agreed.targets);
    report.seconds.data_wait = next.waited;
    ++update_;
    phase_seconds_ += report.seconds;
    dropped_ += report.dropped();
    for (const auto& [axis, traffic] : groups_.ledger->by_axis()) bytes_[axis] += traffic.bytes;
    if (due(setup_.updates_of(recipe_.train.log_every)) || update_ == setup_.length) log(report);
    if (due(setup_.updates_of(recipe_.overlap.replan_every)) && update_ < setup_.length) {
      reader.reset();  // measuring reads, too
      measure_plan();
    }
    if (due(setup_.updates_of(recipe_.evaluate.every)) && update_ < setup_.length) score();
    if (due(setup_.updates_of(recipe_.checkpoint.every)) && update_ < setup_.length && last_saved_ != update_) save();
  }
  const bool scores = end == End::kDone && recipe_.evaluate.every.count > 0 && last_scored_ != update_;
  // The last checkpoint says of the best evaluation what a longer run would know; where nobody asks, saving is first.
  const bool tracks_best = recipe_.checkpoint.keep_best || recipe_.evaluate.patience > 0;
  if (scores && tracks_best) score();
  if (last_saved_ != update_) save();
  if (scores && !tracks_best) score();
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
  const std::vector<MicroBatch> on_device = setup_.to_own_device(batches);
  const double copy_seconds = seconds_since(start);
  const bool traced = recipe_.overlap.trace_update == update_ + 1;
  std::optional<parallel::TraceRecorder> recorder;
  if (traced) groups_.mesh->schedule()->record(&recorder.emplace(parallel::clock_of(setup_.device)));
  StepReport report;
  try {
    report = train_step(setup_.state, on_device, targets, groups_);
  } catch (const Diverged& fault) {
    end_diverged(fault);
  }
  groups_.mesh->schedule()->record(nullptr);
  report.seconds.data = copy_seconds;
  if (recorder) keep_trace(recorder->trace());
  return report;
}

void Trainer::keep_trace(const parallel::Trace& trace) {
  const StepRecording recording = gather_recording(trace, update_ + 1, *overlap_, groups_);
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() == 0) write_file(folder_.trace(), trace_to_text(recording));
  });
  if (metrics_) metrics_->write(summary_of(recording));
}

void Trainer::log(const StepReport& report) {
  const int64_t updates = update_ - logged_update_;
  const double seconds = phase_seconds_.total();
  const double tokens_per_second = static_cast<double>(updates * setup_.scale.tokens_per_update) / seconds;
  progress_.show(
      {.update = update_,
       .length = setup_.length,
       .loss = report.total_loss(),
       .gradient_norm = report.gradient_norm,
       .imbalance = report.imbalance(),
       .tokens_per_second = tokens_per_second,
       .seconds_left = seconds / static_cast<double>(updates) * static_cast<double>(setup_.length - update_)});
  if (metrics_) {
    StepRecord record = record_of(report);
    record.step = update_;
    record.tokens = static_cast<double>(update_ * setup_.scale.tokens_per_update);
    record.tokens_per_second = tokens_per_second;
    record.seconds = mean_seconds(phase_seconds_, updates);
    for (const auto& [axis, sum] : bytes_) record.bytes.emplace_back(axis, static_cast<double>(sum / updates));
    const double engine = groups_.engine != nullptr ? groups_.engine->cpu_seconds() : 0;
    record.mpi_thread_share = (engine - std::exchange(engine_seconds_, engine)) / seconds;
    const int64_t faults = parallel::page_faults();
    record.page_faults =
        static_cast<double>(faults - std::exchange(page_faults_, faults)) / static_cast<double>(updates);
    record.dropped = static_cast<double>(dropped_);
    record.sources = tokens_by_source(setup_.batches->source_tokens(update_));
    metrics_->write(record);
  }
  phase_seconds_ = {};
  dropped_ = 0;
  bytes_.clear();
  logged_update_ = update_;
}

std::vector<CheckpointTensor> Trainer::checkpoint_tensors() const {
  const TrainState& state = setup_.state;
  return training_tensors(*state.model, *state.reducer, *state.optimizer, *groups_.mesh);
}

void Trainer::save() {
  check_finite();
  const auto start = std::chrono::steady_clock::now();
  const CheckpointInfo info{.update = update_,
                            .sequences = setup_.batches->sequences_before(update_),
                            .tokens = update_ * setup_.scale.tokens_per_update,
                            .vocabulary = setup_.vocabulary(),
                            .tokenizer_hash = setup_.corpus->tokenizer_hash(),
                            .corpus = setup_.corpus->fingerprint(),
                            .recipe = write_recipe(recipe_),
                            .plan = plan_to_json(groups_.mesh->schedule()->plan()).dump(),
                            .build = build_id(),
                            .best = best_};
  parallel::all_ranks(*groups_.control, [&] {
    if (groups_.control->rank() == 0) keep_tokenizer(folder_, setup_.corpus->tokenizer());
  });
  const int64_t bytes =
      write_checkpoint(checkpoint_path(folder_.path, update_), info, checkpoint_tensors(), *groups_.control);
  if (groups_.control->rank() == 0)
    prune_checkpoints(folder_.path, recipe_.checkpoint.keep, recipe_.checkpoint.keep_best ? best_.update : -1);
  last_saved_ = update_;
  if (metrics_) metrics_->write(CheckpointRecord{update_, seconds_since(start), static_cast<double>(bytes)});
}

void Trainer::score() {
  if (last_saved_ != update_) check_finite();
  const Evaluation result = evaluate(*setup_.state.model, *setup_.state.objective, *held_out_, groups_);
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
  if (recipe_.checkpoint.keep_best) save();
}

}  // namespace launch
