#include "moetrain/attention/rotary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "moetrain/fused/rotation.h"

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
  return rotate_pairs(x_SHLd, cos_Ph_.narrow(0, first_position, length), sin_Ph_.narrow(0, first_position, length),
                      pairs_ == RopePairs::kAdjacent);
}

at::Tensor Rotary::rotate_next(const at::Tensor& x_SH1d, const std::vector<int64_t>& past_S) const {
  const auto [least, most] = std::ranges::minmax_element(past_S);
  grow(*most + 1);
  if (has_rotation_at(x_SH1d, cos_Ph_)) {
    return rotate_pairs_at(x_SH1d, cos_Ph_, sin_Ph_, past_S, pairs_ == RopePairs::kAdjacent);
  }
  if (*least == *most) return rotate(x_SH1d, *most);
  const at::Tensor place_S = at::tensor(past_S, at::kLong).to(x_SH1d.device());
  const auto of_each = [&](const at::Tensor& all_Ph) {
    return all_Ph.index_select(0, place_S).unsqueeze(1).unsqueeze(1);
  };
  return rotate_pairs(x_SH1d, of_each(cos_Ph_), of_each(sin_Ph_), pairs_ == RopePairs::kAdjacent);
}

}  // namespace moetrain
