#include "moetrain/decoding/sampler.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/comm/local_communicator.h"

namespace moetrain {
namespace {

int64_t draw(const at::Tensor& logits_V, const SamplingOptions& options, double uniform) {
  auto [sorted_V, token_V] =
      at::sort(logits_V.to(at::kCPU, at::kDouble), /*stable=*/true, /*dim=*/0, /*descending=*/true);
  const int64_t* token = token_V.const_data_ptr<int64_t>();
  if (options.temperature == 0) return token[0];
  const at::Tensor cumulative_V = at::softmax(sorted_V / options.temperature, 0).cumsum(0);
  const double* cumulative = cumulative_V.const_data_ptr<double>();
  int64_t kept = 0;
  while (kept + 1 < cumulative_V.numel() && cumulative[kept] < options.top_p) ++kept;
  const double target = uniform * cumulative[kept];
  int64_t chosen = 0;
  while (chosen < kept && cumulative[chosen] <= target) ++chosen;
  return token[chosen];
}

}  // namespace

std::vector<int64_t> generate(DecoderLm& model, const std::vector<int64_t>& prompt, const SamplingOptions& options) {
  parallel::check_internal(!prompt.empty(), "generate: the prompt has no token");
  const at::NoGradGuard no_gradient;
  const at::Device device = model.parameters().front().device();
  parallel::LocalCommunicator alone;
  std::vector<BlockCache> caches;
  std::vector<int64_t> generated, next = prompt;
  const parallel::RandomStream stream(options.seed, "sampling");
  int64_t position = 0;  // of the next tokens: a stochastic router draws again for each
  while (static_cast<int64_t>(generated.size()) < options.tokens) {
    TokenSide tokens = TokenSide::whole(at::tensor(next, at::kLong).to(device).unsqueeze(0));
    tokens.first_token = position;
    position += tokens.global_tokens;
    const at::Tensor hidden_TD = model.decode(tokens, {.group = alone, .draws = {.seed = options.seed}}, caches);
    const at::Tensor logits_V = model.head().logits(hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1)).squeeze(0);
    if (!at::isfinite(logits_V).all().item<bool>()) {
      parallel::user_error(
          "the model's logits after ", position,
          " tokens are not all finite: the run diverged; legal: ", "a run with a smaller optimizer.learning_rate");
    }
    const int64_t token = draw(logits_V, options, stream.uniform(static_cast<int64_t>(generated.size())));
    generated.push_back(token);
    if (token == options.end_token) break;
    next = {token};
  }
  return generated;
}

}  // namespace moetrain
