// defines: AttentionShape: what an attention is built by
#pragma once
#include <cmath>

#include "moetrain/attention/attention_config.h"

namespace moetrain {

struct AttentionShape {
  int64_t width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  double rope_theta = 10000.0;
  bool causal = true;
  bool rotary = true;  // positions; else they are in the input, or there are none
  AttentionConfig options = {};
  int64_t window = 0;          // tokens that a token sees; 0: all
  double norm_epsilon = 1e-5;  // of QkNorm

  int64_t head_width() const { return options.head_width > 0 ? options.head_width : width / heads; }
  /// What a query's product with a key is multiplied by.
  double scale() const { return options.scaled ? 1.0 / std::sqrt(static_cast<double>(head_width())) : 1.0; }
};

}  // namespace moetrain
