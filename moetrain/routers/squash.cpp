#include "moetrain/routers/squash.h"

#include <ATen/ATen.h>

namespace moetrain {

Squashed softmax_squash(const at::Tensor& logits_TE, const MoeConfig&) {
  const at::Tensor probabilities_TE = at::softmax(logits_TE, 1);
  return {probabilities_TE, probabilities_TE};
}

Squashed sigmoid_squash(const at::Tensor& logits_TE, const MoeConfig&) {
  const at::Tensor score_TE = at::sigmoid(logits_TE);
  // A row of logits below -88 is all zeros in float32.
  return {score_TE / score_TE.sum(1, /*keepdim=*/true).clamp_min(1e-30), score_TE};
}

Squashed sigmoid_of_one_squash(const at::Tensor& logits_TE, const MoeConfig& config) {
  const at::Tensor probabilities_TE = at::softmax(logits_TE, 1);
  return {probabilities_TE, config.top_k == 1 ? at::sigmoid(logits_TE) : probabilities_TE};
}

}  // namespace moetrain
