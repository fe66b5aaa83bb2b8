// defines: TokenBatch, PairBatch: the tokens of one micro-batch (or of one rank's share of it), on the CPU
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace data {

/// S sequences of L tokens, row-major [S, L]. targets are the tokens one place later; kIgnored where there is none.
struct TokenBatch {
  static constexpr int64_t kIgnored = -100;
  int64_t sequences = 0;                      // S, may be 0
  int64_t sequence_length = 0;                // L
  std::vector<int64_t> tokens;                // [S * L]
  std::vector<int64_t> targets;               // [S * L]
  std::vector<int32_t> groups;                // [S * L], which group (language) the target belongs to
  std::optional<std::vector<int64_t>> tasks;  // [S], the number of each sequence's task; nothing: there are no tasks
};

/// P sentence pairs, their tokens one after another, without padding.
struct PairBatch {
  std::vector<int64_t> source_tokens;   // of each pair: "<2target>", tokens, end_of_text
  std::vector<int64_t> source_lengths;  // [P]
  std::vector<int64_t> target_inputs;   // of each pair: end_of_text or another start, tokens
  std::vector<int64_t> targets;         // of each pair: tokens, end_of_text
  std::vector<int64_t> target_lengths;  // [P], of inputs and targets alike
  std::vector<int32_t> directions;      // [P], index into ParallelText::directions()

  int64_t pairs() const { return static_cast<int64_t>(directions.size()); }
};

}  // namespace data
