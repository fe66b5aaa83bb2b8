#include "moetrain/layers/linear.h"

#include <ATen/ATen.h>

namespace moetrain {

Linear::Linear(const ParameterSource& source, int64_t in_dim, int64_t out_dim, double std, Spread spread)
    : weight(register_parameter(
          "weight", spread == Spread::kNone
                        ? source.normal("weight", {out_dim, in_dim}, std)
                        : source.spread("weight", {out_dim, in_dim}, spread == Spread::kOut ? 0 : 1, std))) {}

at::Tensor Linear::forward(const at::Tensor& input) const { return at::linear(input, weight); }

}  // namespace moetrain
