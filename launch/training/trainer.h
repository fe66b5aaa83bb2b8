// defines: Trainer, TrainerOptions: the loop of a run
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "launch/batches/prefetched_batches.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/ranks/interrupt.h"
#include "launch/runs/resumption.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/run_lock.h"
#include "launch/stages/stage_plan.h"
#include "launch/training/metrics.h"
#include "launch/training/overlap.h"
#include "launch/training/progress.h"
#include "launch/training/setup.h"
#include "launch/use/expert_use.h"

namespace launch {

struct TrainerOptions {
  bool resume = false;
  ProgressDisplay::Style progress = ProgressDisplay::Style::kSilent;  // of rank 0
};

/// One run of a recipe on the ranks of `groups`: builds everything, resumes from the newest checkpoint that can be used
/// if asked and there is one, and trains to the recipe's length, stage after stage where it has some: each begins from
/// the checkpoint in which the one before it has ended, so that a resumption at a seam is no other path. Every rank
/// makes one and calls run(). While it lives no other process trains in its run folder.
class Trainer {
 public:
  enum class End { kDone, kInterrupted };

  /// UserError, on all ranks, for whatever cannot be used; the run folder is then as it was before. Collective.
  /// `interrupt` outlives the trainer.
  Trainer(const Recipe& recipe, Groups groups, at::Device device, const Interrupt& interrupt,
          const TrainerOptions& options);
  End run();

 private:
  void claim_folder(bool resume);
  void plan();
  /// Whether the stage at hand is the run's last, with all its updates done.
  bool all_done() const { return is_last() && update_ >= setup_->length; }
  bool is_last() const { return history_.size() == stages_.size(); }
  const PlannedStage& stage() const { return stages_[history_.now()]; }
  const Recipe& recipe() const { return setup_->recipe; }
  const Groups& groups() const { return setup_->groups; }
  /// Makes the setup of the stage that history_ ends with, without its model. Collective.
  void enter();
  /// Its model, and how long the run is. Collective.
  void build();
  /// The stage that a checkpoint is of, entered and built. Collective.
  void prepare(const std::filesystem::path& checkpoint);
  Loaded resume();
  void read_state(const std::filesystem::path& checkpoint);
  void check_stages_of(const CheckpointInfo& info, const std::filesystem::path& checkpoint) const;
  void begin(const Loaded& loaded);
  /// Whether what goes on beside what has to be measured first; else the plan that is there is followed. Collective.
  bool open_overlap();
  /// From the end of a stage, which is saved, into the next one. Collective.
  void cross();
  /// Of the model in that checkpoint of the stage at hand, over its held-out text. Collective.
  std::shared_ptr<const ExpertUse> record_use() const;
  void announce_resumption(const Loaded& loaded);
  void measure_plan();
  /// What a run that begins or goes on says.
  void announce(bool resumed);
  /// What each stage says; nothing where there are none.
  void announce_stage();
  void announce_data();
  void write_start(bool resumed);
  struct Agreed {
    int64_t targets = 0;
    bool stop = false;
  };
  void check_metrics_written();
  /// Diverged, on one rank, where a number that a checkpoint would hold is not finite. Collective.
  void check_finite();
  [[noreturn]] void end_diverged(const Diverged& fault) const;
  /// UserError, on all ranks, where one could not read its batches or write its metrics. Collective.
  Agreed agree(const PrefetchedBatches::Next& next);
  /// To the end of the stage at hand, or an interrupt.
  End train_stage();
  /// What is due at its end: scores and a checkpoint.
  void end_stage(End end);
  StepReport step(const std::vector<MicroBatch>& batches, int64_t targets);
  void keep_trace(const parallel::Trace& trace);
  void log(const StepReport& report);
  void save();
  void score();
  void judge(double loss);
  /// Whether evaluate.patience has run out.
  bool given_up() const { return run_.evaluate.patience > 0 && best_.since >= run_.evaluate.patience; }
  bool due(int64_t every) const { return every > 0 && update_ % every == 0; }
  int64_t tokens() const;     // consumed so far
  int64_t sequences() const;  // likewise; -1 where they are not counted
  std::vector<CheckpointTensor> checkpoint_tensors() const;

  const Recipe run_;
  const Groups of_run_;  // the ranks; a stage may lay them out otherwise
  const at::Device device_;
  std::vector<PlannedStage> stages_;
  StageHistory history_;
  int64_t length_ = 0;                    // of all stages
  std::unique_ptr<TrainingSetup> setup_;  // of the stage at hand
  bool built_ = false;                    // its model too
  RunFolder folder_;
  std::unique_ptr<RunLock> lock_;                 // of rank 0
  std::map<std::string, std::string> came_with_;  // files of the start, see StartPoint
  std::optional<Recipe> before_;                  // on rank 0, of the run that goes on
  std::unique_ptr<HeldOutBatches> held_out_;      // null where the run does not evaluate
  std::unique_ptr<Overlap> overlap_;
  const Interrupt& interrupt_;
  ProgressDisplay progress_;
  std::vector<std::string> said_notes_;   // on the layout, which most stages share
  std::unique_ptr<MetricsFile> metrics_;  // of rank 0; null elsewhere

  int64_t update_ = 0;                                // updates done
  int64_t begun_ = 0;                                 // of them, before this process
  int64_t tokens_before_ = 0, sequences_before_ = 0;  // consumed before the stage at hand; -1: not counted
  int64_t last_saved_ = -1;
  int64_t last_scored_ = -1;
  BestScore best_;
  // Since the last line of metrics:
  PhaseSeconds phase_seconds_;
  int64_t dropped_ = 0;
  std::map<std::string, int64_t> bytes_;  // of updates, by axis
  int64_t logged_update_ = 0;
  double engine_seconds_ = 0;
  int64_t page_faults_ = 0;
};

}  // namespace launch
