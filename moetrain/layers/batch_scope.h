// defines: BatchScope, what a layer may know of the global micro-batch around its own tokens
#pragma once
#include <cstdint>

#include "parallel/comm/communicator.h"

namespace moetrain {

/// A micro-batch is a slice of the global batch; its tokens are spread over the ranks of `group`, rank order being
/// global token order. Whatever is not linear in the set of tokens is taken over all of them through `group`.
struct BatchScope {
  parallel::Communicator& group;
  int64_t global_tokens = 0;  // of the whole micro-batch, all ranks
  bool training = false;
};

}  // namespace moetrain
