// defines: zeros_of: what a layer gives where its rank has no tokens
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

namespace moetrain {

/// Zeros like the input, which hang on those of the layer's parameters that are trained: a rank without tokens has then
/// the same backward as the others, whose collectives it takes part in, also where nothing before the layer is trained.
at::Tensor zeros_of(const torch::nn::Module& layer, const at::Tensor& input_TD);

}  // namespace moetrain
