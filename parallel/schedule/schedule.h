// defines: Schedule: the plan in force, and who carries it out
#pragma once
#include <functional>
#include <utility>

#include "parallel/schedule/plan.h"
#include "parallel/schedule/trace.h"

namespace parallel {

/// Shared by a model's expert layers, by the reducer of its gradients, and by whoever sets the plan and reads the
/// trace. Used by the thread that runs forward and backward only. Every rank follows the same plan.
class Schedule {
 public:
  /// Of a model that is being built: the number of its next expert layer, in the order of forward.
  int64_t add_layer() { return layers_++; }
  int64_t layers() const { return layers_; }

  /// @pre not between a forward and its backward
  void follow(Plan plan) { plan_ = std::move(plan); }
  const Plan& plan() const { return plan_; }
  LayerPlan layer(int64_t number) const {
    const auto at = static_cast<size_t>(number);
    return at < plan_.layers.size() ? plan_.layers[at] : LayerPlan{};
  }

  /// Who sends gradients hears of each release; none: nobody sends.
  void on_release(std::function<void(int64_t bytes)> hear) { hear_ = std::move(hear); }
  /// So many bytes of gradients more may go.
  void release_gradients(int64_t bytes) const {
    if (hear_ && bytes > 0) hear_(bytes);
  }

  /// Null: nothing is recorded.
  TraceRecorder* recorder() const { return recorder_; }
  void record(TraceRecorder* recorder) { recorder_ = recorder; }

 private:
  Plan plan_;
  int64_t layers_ = 0;
  std::function<void(int64_t)> hear_;
  TraceRecorder* recorder_ = nullptr;
};

}  // namespace parallel
