// defines: SequenceParts, sequence_parts: where the sequences of a micro-batch lie
#pragma once
#include <vector>

#include "moetrain/layers/batch_scope.h"

namespace moetrain {

/// The parts of sequences that this rank holds, in order, and the sequences that several ranks hold a part of.
struct SequenceParts {
  struct Shared {
    int64_t owner = 0;  // the first rank that holds a part
    int64_t part = -1;  // this rank's part; -1: none
  };
  std::vector<int64_t> lengths;  // [tokens], each at least 1
  std::vector<Shared> shared;    // the same on every rank but for `part`
};

/// @pre sequence_T counts up by 0 or 1 from token to token. Collective over the scope's group.
SequenceParts sequence_parts(const BatchScope& scope, at::Device device);

}  // namespace moetrain
