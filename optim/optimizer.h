// defines: Optimizer, NamedTensor: clipping, schedule, updates and master weights of one model
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "optim/clipping/global_norm.h"
#include "optim/precision/master_weights.h"
#include "optim/schedules/schedule.h"
#include "optim/updates/adamw.h"

namespace optim {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// A tensor of the optimizer's state: /optimizer/<slot>/<name> in a checkpoint.
struct StateTensor {
  std::string slot;  // "first_moment", "second_moment", "momentum", kAverage
  std::string name;
  at::Tensor tensor;
};

struct UpdateReport {
  double learning_rate = 0;
  double clip_scale = 1;  // what the gradients were multiplied by
};

class Optimizer {
 public:
  /// With OptimizerConfig::average the slot of a running mean of the weights: after each update, average += (1 - decay)
  /// (weight - average), from the initial weights on (EMA; Polyak averaging).
  static constexpr const char* kAverage = "average";

  /// rule: what moves the parameters; one for matrices leaves the others to AdamW.
  Optimizer(std::vector<Parameter> parameters, const OptimizerConfig& config, const Schedule& schedule,
            const UpdateRule& rule = adamw_rule());

  /// gradients: of each parameter, summed over ranks, in the order of the parameters, float32 or float64.
  /// norm: their global norm, finite. Collective where the rule is.
  UpdateReport step(const std::vector<at::Tensor>& gradients, double norm);

  /// What the updates act on, by name: float32 (float64) weights, whatever the model's precision.
  std::vector<NamedTensor> masters() const;
  /// Views of the state, to be written out or copied into.
  std::vector<StateTensor> state() const;
  int64_t updates() const { return updates_; }
  /// After a load: the count of updates done; publishes loaded masters.
  void resume_at(int64_t updates);
  /// After masters alone were loaded: no update done, and averages begin with them.
  void begin();

 private:
  /// Parameters that one rule moves, by number.
  struct Part {
    std::vector<size_t> members;
    std::unique_ptr<Update> update;
  };

  OptimizerConfig config_;
  Schedule schedule_;
  std::vector<std::string> names_;
  MasterWeights masters_;
  std::vector<at::Tensor> averages_;  // of the masters over the updates; empty: none are kept
  std::vector<Part> parts_;
  int64_t updates_ = 0;
};

}  // namespace optim
