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
  const int64_t length = x_SHLd.size(2);
  grow(first_position + length);
  return turn(x_SHLd, cos_Ph_.narrow(0, first_position, length), sin_Ph_.narrow(0, first_position, length));
}

at::Tensor Rotary::rotate_next(const at::Tensor& x_SH1d, const std::vector<int64_t>& past_S) const {
  const auto [least, most] = std::ranges::minmax_element(past_S);
  if (*least == *most) return rotate(x_SH1d, *most);
  grow(*most + 1);
  const at::Tensor place_S = at::tensor(past_S, at::kLong).to(x_SH1d.device());
  const auto of_each = [&](const at::Tensor& all_Ph) {
    return all_Ph.index_select(0, place_S).unsqueeze(1).unsqueeze(1);
  };
  return turn(x_SH1d, of_each(cos_Ph_), of_each(sin_Ph_));
}

at::Tensor Rotary::turn(const at::Tensor& x_SHLd, const at::Tensor& cos_Lh, const at::Tensor& sin_Lh) const {
  const int64_t half = x_SHLd.size(3) / 2;
  if (pairs_ == RopePairs::kAdjacent) {
    const at::Tensor a = x_SHLd.slice(3, 0, 2 * half, 2), b = x_SHLd.slice(3, 1, 2 * half, 2);
    return at::stack({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 4).flatten(3);
  }
  const at::Tensor a = x_SHLd.narrow(3, 0, half), b = x_SHLd.narrow(3, half, half);
  return at::cat({a * cos_Lh - b * sin_Lh, b * cos_Lh + a * sin_Lh}, 3);
}

}  // namespace moetrain
