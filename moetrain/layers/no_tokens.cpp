#include "moetrain/layers/no_tokens.h"

#include <ATen/ATen.h>

namespace moetrain {

at::Tensor zeros_of(const torch::nn::Module& layer, const at::Tensor& input_TD) {
  at::Tensor zeros_TD = at::zeros_like(input_TD);
  for (const at::Tensor& parameter : layer.parameters()) {
    if (parameter.requires_grad()) zeros_TD = zeros_TD + parameter.flatten().narrow(0, 0, 0).sum();
  }
  return zeros_TD;
}

}  // namespace moetrain
