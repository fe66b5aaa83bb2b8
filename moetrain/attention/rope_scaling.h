// defines: RopeFrequencies, rope_frequencies, check_rope, yarn_sharpening: how fast each pair of a head's numbers turns
#pragma once
#include <ATen/core/Tensor.h>

#include "moetrain/attention/attention_config.h"

namespace moetrain {

struct RopeFrequencies {
  at::Tensor frequency_h;  // float64, CPU, [head_dim / 2]: radians a position
  double scale = 1.0;      // of what is turned, queries and keys alike
};

/// theta^(-2 i / head_dim), changed as the config says:
/// linear: / factor;
/// llama3: with turns = original_length f / 2 pi in the first trained length, f / factor where turns < low_frequency,
///   f where turns > high_frequency, else a blend of both whose weight grows linearly with turns;
/// yarn: f below, f / factor above a ramp over dimensions whose ends turn beta_fast and beta_slow times in
///   original_length; scale = attention_factor, or what YarnConfig says where that is 0.
/// UserError: llama3 with low_frequency >= high_frequency, yarn with beta_slow >= beta_fast.
RopeFrequencies rope_frequencies(const AttentionConfig& config, int64_t head_dim, double theta);

/// How much YaRN sharpens attention, 0.1 weight ln(factor) + 1 (equation 22).
double yarn_sharpening(double factor, double weight);

/// What rope_frequencies refuses.
void check_rope(const AttentionConfig& config);

}  // namespace moetrain
