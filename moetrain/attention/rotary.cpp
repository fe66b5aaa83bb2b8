#include "moetrain/attention/rotary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace moetrain {

Rotary::Rotary(RopeFrequencies frequencies, at::TensorOptions options, RopePairs pairs)
    : frequencies_(std::move(frequencies)), pairs_(pairs), options_(options) {}

void Rotary::grow(int64_t positions) const {
  const int64_t known = cos_Ph_.defined() ? cos_Ph_.size(0) : 0;
  if (known >= positions) return;
  positions = std::max(positions, 2 * known);  // decoding asks for one more each time
  const at::Tensor angle_Ph =
      at::outer(at::arange(positions, at::TensorOptions(at::kDouble)), frequencies_.frequency_h);
  cos_Ph_ = (angle_Ph.cos() * frequencies_.scale).to(options_);
  sin_Ph_ = (angle_Ph.sin() * frequencies_.scale).to(options_);
}

at::Tensor Rotary::rotate(const at::Tensor& x_SHLd, int64_t first_position) const {
  const int64_t length = x_SHLd.size(2), half = x_SHLd.size(3) / 2;
  grow(first_position + length);
  const at::Tensor cos_Lh = cos_Ph_.narrow(0, first_position, length);
  const at::Tensor sin_Lh = sin_Ph_.narrow(0, first_position, length);
  if (pairs_ == RopePairs::kAdjacent) {
    const at::Tensor a = x_SHLd.slice(3, 0, 2 * half, 2), b = x_SHLd.slice(3, 1, 2 * half, 2);
    return at::stack({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 4).flatten(3);
  }
  const at::Tensor a = x_SHLd.narrow(3, 0, half), b = x_SHLd.narrow(3, half, half);
  return at::cat({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 3);
}

}  // namespace moetrain
