// defines: generate, SamplingOptions: tokens drawn one at a time with a key/value cache
#pragma once
#include <functional>
#include <vector>

#include "moetrain/models/decoder_lm.h"
#include "moetrain/models/encoder_decoder.h"

namespace moetrain {

struct SamplingOptions {
  int64_t tokens = 100;
  double temperature =
      1.0;             // 0: greedy (the most likely token; of equal ones, as moetrain/ranking has it, the smaller id)
  double top_p = 1.0;  // keep the smallest set of tokens whose probability reaches top_p (Holtzman et al. 2020)
  uint64_t seed = 1;
  std::vector<int64_t> end_tokens = {};  // stop after any of them
  int64_t vocabulary = 0;                // tokens that there are, where the embedding has more rows; 0: one each
  int64_t task = -1;                     // number of the text's task; -1: there are none
};

/// Continues `prompt` (not empty); returns the new tokens only. UserError where logits are not finite.
std::vector<int64_t> generate(DecoderLm& model, const std::vector<int64_t>& prompt, const SamplingOptions& options);
/// What a decoder says to a source (not empty), beginning with `start`, which is not returned.
std::vector<int64_t> generate(EncoderDecoder& model, const std::vector<int64_t>& source, int64_t start,
                              const SamplingOptions& options);

}  // namespace moetrain
