#include "moetrain/attention/head_norm.h"

#include <ATen/ATen.h>

#include "moetrain/fused/rms_norm.h"

namespace moetrain {

HeadNorm::HeadNorm(const ParameterSource& source, const Shape& shape) : shape_(shape) {
  const int64_t width = shape.kind == QkNorm::kAll ? shape.heads * shape.head_dim : shape.head_dim;
  const bool spread = shape.kind == QkNorm::kAll && shape.spread;
  const at::Tensor ones =
      spread ? source.spread("weight", {width}, 0, /*std=*/0.0).add_(1) : source.constant("weight", {width}, 1.0);
  weight_ = register_parameter("weight", ones);
}

at::Tensor HeadNorm::forward(const at::Tensor& x_TD, const parallel::TokenParts& parts) const {
  if (shape_.kind == QkNorm::kHead) {
    const at::Tensor x_THd = x_TD.view({x_TD.size(0), x_TD.size(1) / shape_.head_dim, shape_.head_dim});
    return rms_norm(x_THd, weight_, shape_.epsilon).flatten(1);
  }
  if (!shape_.spread || parts.ranks() == 1) return rms_norm(x_TD, weight_, shape_.epsilon);
  const auto wide = x_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor own_T1 = x_TD.to(wide).square().sum(1, /*keepdim=*/true);
  const at::Tensor mean_T1 = parts.gather(parts.sum(own_T1)) / static_cast<double>(shape_.heads * shape_.head_dim);
  return (x_TD.to(wide) * (mean_T1 + shape_.epsilon).rsqrt()).to(x_TD.scalar_type()) * weight_;
}

}  // namespace moetrain
