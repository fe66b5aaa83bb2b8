#include "optim/clipping/global_norm.h"

#include <ATen/ATen.h>

#include <cmath>

#include "parallel/device/accelerator.h"

namespace optim {

double sum_of_squares(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return 0;
  // There each tensor's norm costs several launches, and lists of tensors have kernels of their own.
  if (parallel::is_accelerator(tensors.front().device())) {
    return at::stack(at::_foreach_norm(tensors)).to(at::kDouble).square_().sum().item<double>();
  }
  at::Tensor total = at::zeros({}, tensors.front().options().dtype(at::kDouble));
  for (const at::Tensor& tensor : tensors) {
    // Norm of each tensor in its own precision, the sum over tensors in float64.
    const at::Tensor norm = at::linalg_vector_norm(tensor);
    total.add_(norm.to(at::kDouble).square_());
  }
  return total.item<double>();
}

double global_norm(const std::vector<at::Tensor>& tensors) { return std::sqrt(sum_of_squares(tensors)); }

double clip_scale(double norm, double largest) { return largest > 0 && norm > largest ? largest / norm : 1.0; }

}  // namespace optim
