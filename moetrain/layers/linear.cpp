#include "moetrain/layers/linear.h"

#include <ATen/ATen.h>

namespace moetrain {

Linear::Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std, Spread spread, Bias with)
    : weight(register_parameter("weight",
                                spread == Spread::kNone
                                    ? source.normal("weight", {out_dim, in_dim}, std)
                                    : source.spread("weight", {out_dim, in_dim}, spread == Spread::kOut ? 0 : 1, std))),
      summand_(spread == Spread::kIn) {
  if (with == Bias::kNone) return;
  bias = register_parameter("bias", spread == Spread::kOut ? source.spread("bias", {out_dim}, 0, 0.0)
                                                           : source.constant("bias", {out_dim}, 0.0));
}

at::Tensor Linear::forward(const at::Tensor& input) const {
  return bias.defined() && !summand_ ? at::linear(input, weight, bias) : at::linear(input, weight);
}

at::Tensor Linear::forward(const at::Tensor& input, int64_t first, int64_t count) const {
  const at::Tensor rows = weight.narrow(0, first, count);
  return bias.defined() && !summand_ ? at::linear(input, rows, bias.narrow(0, first, count)) : at::linear(input, rows);
}

at::Tensor Linear::with_bias(const at::Tensor& sum) const { return bias.defined() && summand_ ? sum + bias : sum; }

}  // namespace moetrain
