// defines: next_token, TokenTargets: the objective of a language model
#pragma once
#include "moetrain/models/decoder_lm.h"

namespace moetrain {

struct TokenTargets {
  at::Tensor tokens_SL;   // int64, this rank's sequences of the micro-batch
  at::Tensor targets_SL;  // int64, OutputHead::kIgnored where there is none
};

struct ObjectiveOutput {
  LossTerms losses;  // shares of the update's loss
  at::Tensor nll_T;  // per token, no gradient
  std::vector<LayerRouting> routing;
};

/// -log p(next token), averaged over the counted targets of the whole update, plus the layers' own losses, averaged
/// over its micro-batches.
struct UpdateScale {
  int64_t targets = 1;  // counted targets of the update: all micro-batches, all ranks
  int64_t micro_batches = 1;
};
ObjectiveOutput next_token(DecoderLm& model, const TokenTargets& batch, const BatchScope& scope,
                           const UpdateScale& scale);

}  // namespace moetrain
