// defines: train_step, StepReport, TrainState, Diverged: micro-batches -> one update
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "launch/batches/batches.h"
#include "launch/ranks/groups.h"
#include "optim/optimizer.h"
#include "parallel/base/fault.h"
#include "parallel/gradients/gradient_reducer.h"

namespace launch {

/// Seconds of one update by phase. Data wait is for the batch to be read, data its way to the device. Backward includes
/// the all-reduce it hides; reduce is what it could not hide.
struct PhaseSeconds {
  double data_wait = 0, data = 0, forward = 0, backward = 0, reduce = 0, optimizer = 0;
  double total() const { return data_wait + data + forward + backward + reduce + optimizer; }
  PhaseSeconds& operator+=(const PhaseSeconds& other);
};

struct LayerLoad {
  moetrain::LayerSite site;
  std::vector<double> load;  // share of each expert in the layer's choices, before drops; sums to 1
  int64_t dropped = 0;       // choices
  double entropy = 0;        // of the router, mean over tokens [nats]
};

/// What one update did, the same on every rank.
struct StepReport {
  std::vector<std::pair<std::string, double>> losses;  // weighted terms; their sum is the loss
  double gradient_norm = 0;
  double learning_rate = 0;
  std::vector<LayerLoad> layers;
  PhaseSeconds seconds;

  double total_loss() const;
  /// The largest load of an expert over the mean one, over all layers; 1 is balance, 0 where there are no experts.
  double imbalance() const;
  int64_t dropped() const;
};

/// What an update works on.
struct TrainState {
  std::shared_ptr<moetrain::Model> model;
  std::unique_ptr<moetrain::Objective> objective;
  std::unique_ptr<parallel::GradientReducer> reducer;
  std::unique_ptr<optim::Optimizer> optimizer;
  uint64_t seed = 1;          // of the draws made in forward
  int64_t micro_batches = 1;  // of the recipe; an update may have fewer that hold something
  moetrain::Recompute recompute = moetrain::Recompute::kNone;
  int64_t begin = 0;  // updates of the run before this recipe's first: windows of weights count from there
};

struct Rehearsal {
  parallel::Trace trace;  // this rank's
  double seconds = 0;     // of the last micro-batch and the sums, the slowest rank's
};

/// An update without the optimizer, so that nothing changes but the gradients. Collective.
Rehearsal rehearse(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets, const Groups& groups);

/// A loss, gradient or weight that is not finite. Its thrower knows no recipe, so what() says what was found and not
/// what to do.
struct Diverged : parallel::UserError {
  using parallel::UserError::UserError;
};

/// One update: forward and backward of each micro-batch, gradients summed over ranks while the last backward runs,
/// clipping, optimizer. `targets`: counted targets of the whole update. Collective.
/// Diverged on one rank, ReportedElsewhere on the others, where the loss or a gradient is not finite; the weights are
/// then as before.
StepReport train_step(TrainState& state, const std::vector<MicroBatch>& batches, int64_t targets, const Groups& groups);

}  // namespace launch
