// defines: Linear, Bias: y = x W^T, plus a bias where it has one
#pragma once
#include <torch/nn/module.h>

#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// Which dimension of a weight the tensor group shares: neither, each rank some of the outputs (of the whole input), or
/// some of the inputs, so that its output is a summand.
enum class Spread { kNone, kOut, kIn };

/// Whether a Linear has one; zeros at first.
enum class Bias { kNone, kYes };

class Linear : public torch::nn::Module {
 public:
  /// weight: [out_dim, in_dim], or this rank's part of it, normal with `std`; bias: [out_dim], spread as the outputs.
  Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std, Spread spread = Spread::kNone,
         Bias bias = Bias::kNone);
  /// [..., in_dim] -> [..., out_dim], of this rank's weight. Where the output is a summand the bias is left out:
  /// whoever sums adds it, once.
  at::Tensor forward(const at::Tensor& input) const;
  /// The same of outputs first .. first + count of this rank.
  at::Tensor forward(const at::Tensor& input, int64_t first, int64_t count) const;
  /// [..., out_dim], what a Spread::kIn weight's summands add up to -> with the bias that forward left out
  at::Tensor with_bias(const at::Tensor& sum) const;

  at::Tensor weight, bias;  // bias: undefined where there is none

 private:
  bool summand_;
};

}  // namespace moetrain
