#include "moetrain/attention/rope_scaling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

at::Tensor llama3_frequencies(const Llama3RopeConfig& config, const at::Tensor& plain_h) {
  const at::Tensor turns_h = plain_h * (static_cast<double>(config.original_length) / kTurn);
  const at::Tensor kept_h =
      ((turns_h - config.low_frequency) / (config.high_frequency - config.low_frequency)).clamp(0, 1);
  return plain_h * kept_h + plain_h / config.factor * (1 - kept_h);
}

/// The pair, counted with fractions, that turns so many times in the first trained length.
double pair_of(double turns, double length, int64_t head_dim, double theta) {
  return static_cast<double>(head_dim) * std::log(length / (turns * kTurn)) / (2 * std::log(theta));
}

at::Tensor yarn_frequencies(const YarnConfig& config, const at::Tensor& plain_h, int64_t head_dim, double theta) {
  const auto length = static_cast<double>(config.original_length);
  double low = pair_of(config.beta_fast, length, head_dim, theta);
  double high = pair_of(config.beta_slow, length, head_dim, theta);
  if (config.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;  // a step
  const at::Tensor pair_h = at::arange(head_dim / 2, plain_h.options());
  const at::Tensor divided_h = ((pair_h - low) / (high - low)).clamp(0, 1);
  return plain_h * (1 - divided_h) + plain_h / config.factor * divided_h;
}

double yarn_scale(const YarnConfig& config) {
  if (config.attention_factor > 0) return config.attention_factor;
  if (config.mscale == 0 || config.mscale_all == 0) return yarn_sharpening(config.factor, 1);
  return yarn_sharpening(config.factor, config.mscale) / yarn_sharpening(config.factor, config.mscale_all);
}

}  // namespace

double yarn_sharpening(double factor, double weight) { return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1; }

void check_rope(const AttentionConfig& config) {
  const auto& llama3 = config.own<Llama3RopeConfig>();
  if (config.rope == RopeKind::kLlama3 && llama3.low_frequency >= llama3.high_frequency) {
    parallel::user_error("attention.llama3.low_frequency (", llama3.low_frequency,
                         ") must be below attention.llama3.high_frequency (", llama3.high_frequency, ")");
  }
  const auto& yarn = config.own<YarnConfig>();
  if (config.rope == RopeKind::kYarn && yarn.beta_slow >= yarn.beta_fast) {
    parallel::user_error("attention.yarn.beta_slow (", yarn.beta_slow, ") must be below attention.yarn.beta_fast (",
                         yarn.beta_fast, ")");
  }
}

RopeFrequencies rope_frequencies(const AttentionConfig& config, int64_t head_dim, double theta) {
  check_rope(config);
  const auto wide = at::TensorOptions(at::kDouble);
  const at::Tensor exponent_h = at::arange(0, head_dim, 2, wide) / static_cast<double>(head_dim);
  const at::Tensor plain_h = at::pow(theta, exponent_h.neg());
  switch (RopeKind(config.rope)) {
    case RopeKind::kPlain:
      return {plain_h};
    case RopeKind::kLinear:
      return {plain_h / config.own<LinearRopeConfig>().factor};
    case RopeKind::kLlama3:
      return {llama3_frequencies(config.own<Llama3RopeConfig>(), plain_h)};
    case RopeKind::kYarn:
      break;
  }
  const auto& yarn = config.own<YarnConfig>();
  return {yarn_frequencies(yarn, plain_h, head_dim, theta), yarn_scale(yarn)};
}

}  // namespace moetrain
