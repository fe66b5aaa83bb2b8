#include "moetrain/attention/position_bias.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace moetrain {

int64_t distance_bucket(const RelativeConfig& config, int64_t offset, bool causal) {
  const int64_t buckets = causal ? config.buckets : config.buckets / 2;
  const int64_t first = !causal && offset > 0 ? buckets : 0;  // of the side
  const int64_t distance = causal ? std::max<int64_t>(0, -offset) : std::abs(offset);
  const int64_t exact = buckets / 2;
  if (distance < exact) return first + distance;
  const double grown = std::log(static_cast<double>(distance) / static_cast<double>(exact)) /
                       std::log(static_cast<double>(config.longest) / static_cast<double>(exact));
  // Powers fall on whole numbers, where the last bit must have no say; transformers' float32 gives the upper, too.
  constexpr double kRoundOff = 1e-6;
  const auto step = static_cast<int64_t>(std::floor(grown * static_cast<double>(buckets - exact) + kRoundOff));
  return first + std::min(exact + step, buckets - 1);
}

void check_relative(const AttentionConfig& config) {
  if (config.positions != Positions::kRelative) return;
  const auto& relative = config.own<RelativeConfig>();
  if (relative.buckets < 4 || relative.buckets % 2 != 0) {
    parallel::user_error("attention.relative.buckets = ", relative.buckets, "; legal: an even number, at least 4");
  }
  if (relative.longest > relative.buckets / 2) return;
  parallel::user_error("attention.relative.longest (", relative.longest, ") must be above half of the buckets, ",
                       relative.buckets / 2,
                       ", whose distances have buckets of their own; nearest legal: ", relative.buckets / 2 + 1);
}

PositionBias::PositionBias(const ParameterSource& source, const RelativeConfig& config, int64_t heads, bool causal,
                           double std)
    : config_(config),
      causal_(causal),
      weight_BH_(register_parameter("weight", source.spread("weight", {config.buckets, heads}, 1, std))) {
  source.call_vectors("weight");
}

at::Tensor PositionBias::forward(int64_t queries, int64_t past) const {
  const int64_t keys = past + queries;
  std::vector<int64_t> bucket(static_cast<size_t>(queries + keys - 1));  // of offsets from 1 - keys on
  for (size_t i = 0; i < bucket.size(); ++i) {
    bucket[i] = distance_bucket(config_, static_cast<int64_t>(i) + 1 - keys, causal_);
  }
  const at::Tensor query_L1 = at::arange(past, keys, at::kLong).unsqueeze(1);
  const at::Tensor offset_LK = at::arange(keys, at::kLong).unsqueeze(0) - query_L1;
  const at::Tensor bucket_LK = at::tensor(bucket, at::kLong).index({offset_LK + (keys - 1)});
  // Its backward sums in a fixed order.
  return at::embedding(weight_BH_, parallel::send(bucket_LK, weight_BH_.device())).permute({2, 0, 1}).unsqueeze(0);
}

at::Tensor PositionBias::next(const std::vector<int64_t>& past_S) const {
  const auto [least, most] = std::ranges::minmax_element(past_S);
  if (*least == *most) return forward(1, *most);
  std::vector<at::Tensor> bias_S;
  for (const int64_t past : past_S) bias_S.push_back(at::constant_pad_nd(forward(1, past), {0, *most - past}));
  return at::cat(bias_S, 0);
}

}  // namespace moetrain
