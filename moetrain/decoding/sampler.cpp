#include "moetrain/decoding/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "moetrain/ranking/ranking.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/comm/local_communicator.h"

namespace moetrain {
namespace {

int64_t draw(const at::Tensor& logits_V, const SamplingOptions& options, double uniform) {
  const at::ScalarType computed_in = logits_V.scalar_type();
  const at::Tensor wide_1V = logits_V.to(at::kCPU, at::kDouble).unsqueeze(0);
  const Graded graded = by_difference(wide_1V, computed_in);
  if (options.temperature == 0) return largest_k(graded, 1).item<int64_t>();
  const at::Tensor token_V = largest_k(graded, wide_1V.size(1)).squeeze(0);
  const int64_t* token = token_V.const_data_ptr<int64_t>();
  const at::Tensor cumulative_V =
      at::softmax(wide_1V.squeeze(0).index_select(0, token_V) / options.temperature, 0).cumsum(0);
  const double* cumulative = cumulative_V.const_data_ptr<double>();
  // 0.5 of two tokens of a quarter each is reached by both, whatever their sum's last bit.
  const double enough = options.top_p < 1 ? options.top_p * (1 - tie_bound(computed_in)) : 2;
  int64_t kept = 0;
  while (kept + 1 < cumulative_V.numel() && cumulative[kept] < enough) ++kept;
  const double target = uniform * cumulative[kept];
  int64_t chosen = 0;
  while (chosen < kept && cumulative[chosen] <= target) ++chosen;
  return token[chosen];
}

TokenSide one_sequence(const Model& model, const std::vector<int64_t>& tokens, const SamplingOptions& options) {
  const at::Device device = model.parameters().front().device();
  TokenSide side = TokenSide::whole(at::tensor(tokens, at::kLong).to(device).unsqueeze(0));
  if (options.task >= 0) side.task_S = at::full({1}, options.task, at::kLong);
  return side;
}

/// The hidden states of the places that come next.
using Decode = std::function<at::Tensor(const TokenSide& tokens, const PassScope& pass)>;

/// What comes after `first`.
std::vector<int64_t> sample(const Model& model, const std::vector<int64_t>& first, const SamplingOptions& options,
                            const Decode& decode) {
  parallel::LocalCommunicator alone;
  std::vector<int64_t> generated, next = first;
  const parallel::RandomStream stream(options.seed, "sampling");
  int64_t position = 0;  // of the next tokens: a stochastic router draws again for each
  while (static_cast<int64_t>(generated.size()) < options.tokens) {
    TokenSide tokens = one_sequence(model, next, options);
    tokens.first_token = position;
    position += tokens.global_tokens;
    const at::Tensor hidden_TD = decode(tokens, {.group = alone, .draws = {.seed = options.seed}});
    at::Tensor logits_V = model.head().logits(hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1)).squeeze(0);
    if (options.vocabulary > 0) logits_V = logits_V.narrow(0, 0, options.vocabulary);
    if (!at::isfinite(logits_V).all().item<bool>()) {
      parallel::user_error(
          "the model's logits after ", position,
          " tokens are not all finite: the run diverged; legal: ", "a run with a smaller optimizer.learning_rate");
    }
    const int64_t token = draw(logits_V, options, stream.uniform(static_cast<int64_t>(generated.size())));
    generated.push_back(token);
    if (std::ranges::count(options.end_tokens, token) > 0) break;
    next = {token};
  }
  return generated;
}

}  // namespace

std::vector<int64_t> generate(DecoderLm& model, const std::vector<int64_t>& prompt, const SamplingOptions& options) {
  parallel::check_internal(!prompt.empty(), "generate: the prompt has no token");
  const at::NoGradGuard no_gradient;
  std::vector<BlockCache> caches;
  return sample(model, prompt, options,
                [&](const TokenSide& tokens, const PassScope& pass) { return model.decode(tokens, pass, caches); });
}

std::vector<int64_t> generate(EncoderDecoder& model, const std::vector<int64_t>& source, int64_t start,
                              const SamplingOptions& options) {
  parallel::check_internal(!source.empty(), "generate: the source has no token");
  const at::NoGradGuard no_gradient;
  parallel::LocalCommunicator alone;
  const Memory memory =
      model.encode(one_sequence(model, source, options), {.group = alone, .draws = {.seed = options.seed}});
  std::vector<BlockCache> caches;
  return sample(model, {start}, options, [&](const TokenSide& tokens, const PassScope& pass) {
    return model.decode(tokens, pass, memory, caches);
  });
}

}  // namespace moetrain
