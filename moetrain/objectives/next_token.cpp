#include "moetrain/objectives/next_token.h"

#include <ATen/ATen.h>

#include <utility>

namespace moetrain {

ObjectiveOutput next_token(DecoderLm& model, const TokenTargets& batch, const BatchScope& scope,
                           const UpdateScale& scale) {
  ModelOutput output = model.forward(batch.tokens_SL, scope);
  const CrossEntropy loss = model.head().cross_entropy(output.hidden_TD, batch.targets_SL.flatten(),
                                                       1.0 / static_cast<double>(scale.targets));
  ObjectiveOutput result;
  result.losses.add("next_token", loss.share);
  for (const LossTerm& term : output.losses.terms()) {
    result.losses.add(term.name, term.share / static_cast<double>(scale.micro_batches));
  }
  result.nll_T = loss.nll_T;
  result.routing = std::move(output.routing);
  return result;
}

}  // namespace moetrain
