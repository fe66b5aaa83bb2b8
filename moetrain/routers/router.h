// defines: Router, RoutingDecision, RoutingContext, builtin_routers()
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/layers/batch_scope.h"
#include "moetrain/layers/parameter_source.h"
#include "moetrain/moe/moe_config.h"
#include "parallel/base/name_table.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {

// T tokens of this rank, E experts, K choices per token, D model width

/// What a router decided for this rank's tokens, and what losses and metrics read.
struct RoutingDecision {
  at::Tensor logits_TE;         // at least float32; carries gradient
  at::Tensor probabilities_TE;  // softmax of the logits
  parallel::Assignment assignment;
  at::Tensor global_choices_E;  // int64: choices of each expert over the global micro-batch, before any drop
  int64_t dropped = 0;          // choices of this rank's tokens that the capacity rule dropped
};

/// Side information of a routing; grows with the routers that need more.
struct RoutingContext {
  const BatchScope& scope;
};

class Router : public torch::nn::Module {
 public:
  /// tokens_TD: the normed input of the block's feed-forward slot. Collective over the scope's group.
  virtual RoutingDecision forward(const at::Tensor& tokens_TD, const RoutingContext& context) = 0;
};

using RouterMaker = std::shared_ptr<Router> (*)(const ParameterSource& source, const MoeConfig& config, int64_t width,
                                                double std);

/// `top_k`. A program outside the tree adds its own rows.
parallel::NameTable<RouterMaker> builtin_routers();

}  // namespace moetrain
