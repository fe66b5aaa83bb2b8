// defines: BatchScope, DrawKey: what a layer may know of the global micro-batch around its own tokens
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/comm/communicator.h"

namespace moetrain {

/// Which of the run's random draws a forward pass takes: every pass of training has a step of its own.
struct DrawKey {
  uint64_t seed = 0;
  int64_t step = 0;
};

/// A micro-batch is a slice of the global batch; its tokens are spread over the ranks of `group`, rank order being
/// global token order. Whatever is not linear in the set of tokens is taken over all of them through `group`.
struct BatchScope {
  parallel::Communicator& group;
  int64_t global_tokens = 0;  // of the whole micro-batch, all ranks
  bool training = false;
  int64_t first_token = 0;  // global index of this rank's first token; in evaluation, within the whole text
  DrawKey draws = {};
  int64_t sequence_length = 0;  // filled by the model, as the token ids are; 0 where tokens form no sequences
  at::Tensor token_ids_T = {};  // int64
};

}  // namespace moetrain
