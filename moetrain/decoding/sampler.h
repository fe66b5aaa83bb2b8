// defines: generate, SamplingOptions: tokens drawn one at a time with a key/value cache, for several prompts at once
#pragma once
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
  /// Prompts that are continued together, each step reading the weights once for all of them. Where what experts make
  /// of a token depends on others (a bounded capacity, draws), they are continued one after another.
  int64_t batch = 8;
  int64_t first_prompt = 0;  // number of the first one among all: what its draws are known by
};

/// Continues prompts (none of them empty, of any lengths), each as it would be alone; returns the new tokens only. The
/// draws of a prompt are those of its number. Caches of `batch` sequences are made once, for the longest prompt
/// and 2048 tokens more at most. UserError where logits are not finite.
std::vector<std::vector<int64_t>> generate(DecoderLm& model, const std::vector<std::vector<int64_t>>& prompts,
                                           const SamplingOptions& options);
/// What a decoder says to sources (none of them empty), beginning with `start`, which is not returned.
std::vector<std::vector<int64_t>> generate(EncoderDecoder& model, const std::vector<std::vector<int64_t>>& sources,
                                           int64_t start, const SamplingOptions& options);

}  // namespace moetrain
