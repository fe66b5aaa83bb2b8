// defines: TokenBatch, the tokens of one micro-batch (or of one rank's share of it), on the CPU
#pragma once
#include <cstdint>
#include <vector>

namespace data {

/// S sequences of L tokens, row-major [S, L]. targets are the tokens one place later; kIgnored where there is none.
struct TokenBatch {
  static constexpr int64_t kIgnored = -100;
  int64_t sequences = 0;         // S, may be 0
  int64_t sequence_length = 0;   // L
  std::vector<int64_t> tokens;   // [S * L]
  std::vector<int64_t> targets;  // [S * L]
  std::vector<int32_t> groups;   // [S * L], which group (language) the target belongs to
};

}  // namespace data
