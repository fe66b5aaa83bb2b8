// defines: BatchScope, DrawKey: what a layer may know of the global micro-batch around its own tokens
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moetrain/layers/sequences.h"
#include "parallel/autograd/token_parts.h"
#include "parallel/base/random.h"
#include "parallel/comm/communicator.h"

namespace moetrain {

class LayerObserver;

/// Which of the run's random draws a forward pass takes: every micro-batch of training has a step of its own, and
/// each of several passes over it a number.
struct DrawKey {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t pass = 0;

  parallel::RandomStream stream(std::string_view purpose, int64_t layer) const {
    if (pass == 0) return {seed, purpose, layer, step};
    return {seed, std::string(purpose) + ", pass " + std::to_string(pass), layer, step};
  }
};

/// A micro-batch is a slice of the global batch; its tokens are spread over the ranks of `group`, rank order being
/// global token order. Whatever is not linear in the set of tokens is taken over all of them through `group`.
struct BatchScope {
  parallel::Communicator& group;
  int64_t global_tokens = 0;  // of the whole micro-batch, all ranks
  bool training = false;
  int64_t first_token = 0;  // global index of this rank's first token; in evaluation, within the whole text
  DrawKey draws = {};
  int64_t update = 0;  // updates done before this one: what a loss's window of steps is held against
  /// By number of the layer (LayerSite): choices of each expert, int64 [E], summed over the global micro-batches of
  /// this update before this one (of RoutingDecision::global_choices_E); empty, or undefined for a layer, where there
  /// are none.
  std::vector<at::Tensor> earlier_choices = {};
  LayerObserver* observer = nullptr;  // is told of every feed-forward and MoeLayer; null: nobody is
  // Filled by the model:
  int64_t global_sequences = 0;  // of the whole micro-batch, all ranks
  at::Tensor sequence_T = {};    // int64, CPU: number of each token's sequence in the micro-batch; undefined: none
  std::optional<Sequences> sequences = {};  // of the tensor group's tokens
  at::Tensor number_S = {};                 // int64, CPU: theirs in the micro-batch
  // int64, CPU: the number of the task of each of those sequences, and of each token's; undefined: there are no tasks
  at::Tensor task_S = {}, task_T = {};
  int64_t longest = 0;              // tokens of the longest sequence in the micro-batch
  at::Tensor token_ids_T = {};      // int64
  at::Tensor pre_gate_TE = {};      // logits of the router at the model's entrance (PreGate); undefined: there is none
  parallel::TokenParts parts = {};  // where this rank's tokens lie within those of its tensor group
};

}  // namespace moetrain
