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
#include "launch/training/metrics.h"
#include "launch/training/overlap.h"
#include "launch/training/progress.h"
#include "launch/training/setup.h"

namespace launch {

struct TrainerOptions {
  bool resume = false;
  ProgressDisplay::Style progress = ProgressDisplay::Style::kSilent;  // of rank 0
};

/// One run of a recipe on the ranks of `groups`: builds everything, resumes from the newest checkpoint that can be used
/// if asked and there is one, and trains to the recipe's length. Every rank makes one and calls run(). While it lives
/// no other process trains in its run folder.
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
  Loaded resume();
  void read_state(const std::filesystem::path& checkpoint);
  void begin(const Loaded& loaded);
  void announce_resumption(const Loaded& loaded);
  void measure_plan();
  void announce(bool resumed);
  void write_start(bool resumed, const moetrain::ParameterCount& count, const std::string& model);
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
  StepReport step(const std::vector<MicroBatch>& batches, int64_t targets);
  void keep_trace(const parallel::Trace& trace);
  void log(const StepReport& report);
  void save();
  void score();
  void judge(double loss);
  /// Whether evaluate.patience has run out.
  bool given_up() const { return recipe_.evaluate.patience > 0 && best_.since >= recipe_.evaluate.patience; }
  bool due(int64_t every) const { return every > 0 && update_ % every == 0; }
  std::vector<CheckpointTensor> checkpoint_tensors() const;

  TrainingSetup setup_;
  const Recipe& recipe_ = setup_.recipe;
  const Groups& groups_ = setup_.groups;
  RunFolder folder_;
  std::unique_ptr<RunLock> lock_;                 // of rank 0
  std::map<std::string, std::string> came_with_;  // files of the start, see StartPoint
  std::optional<Recipe> before_;                  // on rank 0, of the run that goes on
  std::unique_ptr<HeldOutBatches> held_out_;      // null where the run does not evaluate
  std::unique_ptr<Overlap> overlap_;
  const Interrupt& interrupt_;
  ProgressDisplay progress_;
  std::unique_ptr<MetricsFile> metrics_;  // of rank 0; null elsewhere

  int64_t update_ = 0;  // updates done
  int64_t begun_ = 0;   // of them, before this process
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
