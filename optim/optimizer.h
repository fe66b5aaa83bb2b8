// defines: Optimizer, NamedTensor: clipping, schedule, update and master weights of one model
#pragma once
#include <ATen/core/Tensor.h>

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
  std::string slot;  // "first_moment", "second_moment"
  std::string name;
  at::Tensor tensor;
};

struct UpdateReport {
  double learning_rate = 0;
  double clip_scale = 1;  // what the gradients were multiplied by
};

class Optimizer {
 public:
  Optimizer(const std::vector<NamedTensor>& parameters, const AdamwConfig& config, const Schedule& schedule);

  /// gradients: of each parameter, summed over ranks, in the order of the parameters, float32 or float64.
  /// norm: their global norm, finite.
  UpdateReport step(const std::vector<at::Tensor>& gradients, double norm);

  /// What the updates act on, by name: float32 (float64) weights, whatever the model's precision.
  std::vector<NamedTensor> masters() const;
  /// Views of the moments, to be written out or copied into.
  std::vector<StateTensor> state() const;
  int64_t updates() const { return adamw_.updates(); }
  /// After a load: the count of updates done; publishes loaded masters.
  void resume_at(int64_t updates);

 private:
  AdamwConfig config_;
  Schedule schedule_;
  std::vector<std::string> names_;
  MasterWeights masters_;
  AdamW adamw_;
};

}  // namespace optim
