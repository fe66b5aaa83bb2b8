#include "moetrain/moe/residual_mix.h"

#include <ATen/ATen.h>

namespace moetrain {

ResidualMix::ResidualMix(const ParameterSource& source, int64_t width, double std)
    : weight_2D_(register_parameter("weight", source.normal("weight", {2, width}, std))),
      bias_2_(register_parameter("bias", source.constant("bias", {2}, 0.0))) {}

at::Tensor ResidualMix::forward(const at::Tensor& tokens_TD, const at::Tensor& routed_TD,
                                const at::Tensor& shared_TD) const {
  // Like the router's, a softmax at least in float32.
  const at::ScalarType wide = tokens_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor score_T2 = at::linear(tokens_TD, weight_2D_, bias_2_);
  const at::Tensor part_T2 = at::softmax(score_T2, 1, wide).to(tokens_TD.scalar_type());
  return part_T2.narrow(1, 0, 1) * routed_TD + part_T2.narrow(1, 1, 1) * shared_TD;
}

}  // namespace moetrain
