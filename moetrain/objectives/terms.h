// defines: cross_entropy_name, targets_of, add_layer_losses, with_layers, add_head_loss: what the objectives share
#pragma once
#include <string>
#include <utility>

#include "moetrain/objectives/objective.h"

namespace moetrain {

/// What the cross-entropy is logged as.
inline const char* cross_entropy_name(const Batch& batch) {
  return batch.predicts == Rows::kTokens ? "next_token" : "classification";
}

inline TargetTokens targets_of(const Batch& batch, const UpdateScale& scale, double label_smoothing) {
  return {batch.targets_G, 1.0 / static_cast<double>(scale.targets), label_smoothing};
}

inline void add_layer_losses(LossTerms& losses, const LossTerms& of_layers, const UpdateScale& scale) {
  LossTerms scaled;
  for (const LossTerm& term : of_layers.terms()) {
    scaled.add(term.name, term.share / static_cast<double>(scale.micro_batches));
  }
  losses.add_all(scaled);
}

/// The rest of an objective's output, once its own terms are added: the layers' losses, the likelihoods, the routing.
inline ObjectiveOutput with_layers(LossTerms losses, const HeadLoss& loss, ModelOutput output,
                                   const UpdateScale& scale) {
  add_layer_losses(losses, output.losses, scale);
  return {.losses = std::move(losses),
          .nll_T = loss.nll_T,
          .correct_T = loss.correct_T,
          .routing = std::move(output.routing)};
}

/// The cross-entropy and, apart from it, what `name` adds; the gradient of both hangs on the first.
inline void add_head_loss(LossTerms& losses, const Batch& batch, const HeadLoss& loss, const std::string& name) {
  losses.add(cross_entropy_name(batch), loss.share - loss.second);
  losses.add(name, loss.second);
}

}  // namespace moetrain
