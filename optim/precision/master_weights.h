// defines: MasterWeights: what the optimizer updates where that is not the model's weights themselves
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace optim {

/// float32 copies of bf16 weights; float32 and float64 weights are their own masters. Offloaded: copies of all of them,
/// in the host's memory.
class MasterWeights {
 public:
  explicit MasterWeights(std::vector<at::Tensor> parameters, bool offload = false);
  const std::vector<at::Tensor>& tensors() const { return masters_; }
  /// Rounds the masters into the model's weights; nothing to do where they are the same.
  void publish();

 private:
  std::vector<at::Tensor> parameters_, masters_;
  bool copies_ = false;
};

}  // namespace optim
