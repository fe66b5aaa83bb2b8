#include "moetrain/attention/rotary.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "parallel/base/fault.h"

namespace moetrain {

Rotary::Rotary(int64_t head_dim, double theta, at::TensorOptions options)
    : head_dim_(head_dim), theta_(theta), options_(options) {
  parallel::check_internal(head_dim % 2 == 0, "Rotary: head dim ", head_dim, " is odd");
}

void Rotary::grow(int64_t positions) const {
  const int64_t known = cos_Ph_.defined() ? cos_Ph_.size(0) : 0;
  if (known >= positions) return;
  positions = std::max(positions, 2 * known);  // decoding asks for one more each time
  const auto wide = at::TensorOptions(at::kDouble);
  const at::Tensor exponent_h = at::arange(0, head_dim_, 2, wide) / static_cast<double>(head_dim_);
  const at::Tensor angle_Ph = at::outer(at::arange(positions, wide), at::pow(theta_, exponent_h.neg()));
  cos_Ph_ = angle_Ph.cos().to(options_);
  sin_Ph_ = angle_Ph.sin().to(options_);
}

at::Tensor Rotary::rotate(const at::Tensor& x_SHLd, int64_t first_position) const {
  const int64_t length = x_SHLd.size(2), half = head_dim_ / 2;
  grow(first_position + length);
  const at::Tensor cos_Lh = cos_Ph_.narrow(0, first_position, length);
  const at::Tensor sin_Lh = sin_Ph_.narrow(0, first_position, length);
  const at::Tensor a = x_SHLd.narrow(3, 0, half), b = x_SHLd.narrow(3, half, half);
  return at::cat({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 3);
}

}  // namespace moetrain
