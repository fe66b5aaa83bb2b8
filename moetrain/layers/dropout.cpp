#include "moetrain/layers/dropout.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

namespace moetrain {

at::Tensor dropout(const at::Tensor& x_TD, double p, const parallel::RandomStream& stream, int64_t first_row) {
  constexpr double kSteps = 65536;
  const auto threshold = static_cast<uint32_t>(std::lround(p * kSteps));
  if (threshold == 0) return x_TD;
  const int64_t width = x_TD.size(1);
  std::vector<uint16_t> draws(static_cast<size_t>(x_TD.numel()));
  stream.words16(first_row * width, draws);
  at::Tensor mask_TD = at::empty(x_TD.sizes(), at::kFloat);
  float* mask = mask_TD.mutable_data_ptr<float>();
  const auto kept = static_cast<float>(kSteps / (kSteps - threshold));
  for (size_t i = 0; i < draws.size(); ++i) mask[i] = draws[i] >= threshold ? kept : 0.0F;
  return x_TD * mask_TD.to(x_TD.device(), x_TD.scalar_type());
}

}  // namespace moetrain
