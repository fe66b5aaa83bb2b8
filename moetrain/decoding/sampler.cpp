#include "moetrain/decoding/sampler.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <algorithm>

#include "moetrain/ranking/ranking.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/device/host_tensor.h"
#include "parallel/kernels/peak.h"

namespace moetrain {
namespace {

bool all_finite(const at::Tensor& logits_SV) {
  if (!parallel::has_wide_loops(logits_SV) || !logits_SV.is_contiguous())
    return at::isfinite(logits_SV).all().item<bool>();
  return AT_DISPATCH_FLOATING_TYPES(logits_SV.scalar_type(), "all_finite", [&] {
    return parallel::peak_of(logits_SV.const_data_ptr<scalar_t>(), logits_SV.numel()).finite;
  });
}

int64_t draw(const at::Tensor& logits_V, const SamplingOptions& options, double uniform) {
  const at::ScalarType computed_in = logits_V.scalar_type();
  if (options.temperature == 0) return largest_by_difference(logits_V, computed_in);
  const at::Tensor wide_1V = logits_V.to(at::kCPU, at::kDouble).unsqueeze(0);
  const at::Tensor token_V = largest_k(by_difference(wide_1V, computed_in), wide_1V.size(1)).squeeze(0);
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

using Tokens = std::vector<int64_t>;

at::Device device_of(const Model& model) { return model.parameters().front().device(); }

/// Sequences one after another.
TokenSide side_of(at::Device device, const std::vector<Tokens>& sequences, const SamplingOptions& options) {
  Tokens all, lengths;
  for (const Tokens& each : sequences) {
    all.insert(all.end(), each.begin(), each.end());
    lengths.push_back(std::ssize(each));
  }
  TokenSide side{.ids_T = at::tensor(all, at::kLong).to(device),
                 .sequences = Sequences(std::move(lengths), device),
                 .global_tokens = std::ssize(all),
                 .global_sequences = std::ssize(sequences)};
  if (options.task >= 0) side.task_S = at::full({std::ssize(sequences)}, options.task, at::kLong);
  return side;
}

/// The hidden states of the places that come next.
using Decode =
    std::function<at::Tensor(const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>& caches)>;

/// Tokens that there is room for at once; what may become longer, and mostly ends before, has its room doubled.
constexpr int64_t kMostRoom = 2048;

/// Prompts that are continued together. Who has come to an end leaves, so that the others go on without it.
class Continuations {
 public:
  /// `first`: the number of its first prompt among all.
  Continuations(const Model& model, std::vector<Tokens> prompts, int64_t first, const SamplingOptions& options,
                const Decode& decode)
      : model_(model),
        device_(device_of(model)),
        options_(options),
        decode_(decode),
        next_(std::move(prompts)),
        answers_(next_.size()) {
    int64_t longest = 0;
    for (size_t i = 0; i < next_.size(); ++i) {
      longest = std::max<int64_t>(longest, std::ssize(next_[i]));
      open_.push_back(i);
      streams_.emplace_back(options.seed, "sampling", first + static_cast<int64_t>(i));
    }
    const int64_t room = longest + std::min(options.tokens, kMostRoom);
    caches_.assign(static_cast<size_t>(model.config().layers), BlockCache{KeyValueCache(room), {}});
  }

  std::vector<Tokens> run() {
    if (options_.tokens == 0) return std::move(answers_);
    for (int64_t place = 0; !open_.empty(); ++place) take(next_tokens(), place);
    return std::move(answers_);
  }

 private:
  /// Of each open prompt, [S, V].
  at::Tensor logits_SV() {
    TokenSide tokens = side_of(device_, next_, options_);
    tokens.first_token = position_;
    position_ += tokens.sequences.longest();
    parallel::LocalCommunicator alone;
    at::Tensor hidden_TD = decode_(tokens, {.group = alone, .draws = {.seed = options_.seed}}, caches_);
    if (hidden_TD.size(0) > std::ssize(next_)) hidden_TD = tokens.sequences.pooled(hidden_TD, Pool::kLast);
    const at::Tensor logits_SV = model_.head().logits(hidden_TD);
    return options_.vocabulary > 0 ? logits_SV.narrow(1, 0, options_.vocabulary) : logits_SV;
  }

  Tokens next_tokens() {
    const at::Tensor logits_SV = this->logits_SV();
    if (!all_finite(logits_SV)) {
      parallel::user_error(
          "the model's logits after ", position_,
          " tokens are not all finite: the run diverged; legal: ", "a run with a smaller optimizer.learning_rate");
    }
    Tokens tokens;
    for (int64_t s = 0; s < logits_SV.size(0); ++s) {
      const size_t prompt = open_[static_cast<size_t>(s)];
      tokens.push_back(draw(logits_SV.select(0, s), options_, streams_[prompt].uniform(std::ssize(answers_[prompt]))));
    }
    return tokens;
  }

  void take(const Tokens& tokens, int64_t place) {
    std::vector<size_t> open;
    Tokens rows;
    next_.clear();
    for (size_t s = 0; s < tokens.size(); ++s) {
      answers_[open_[s]].push_back(tokens[s]);
      if (place + 1 == options_.tokens || std::ranges::count(options_.end_tokens, tokens[s]) > 0) continue;
      open.push_back(open_[s]);
      rows.push_back(static_cast<int64_t>(s));
      next_.push_back({tokens[s]});
    }
    open_ = std::move(open);
    if (rows.size() == tokens.size() || rows.empty()) return;
    const at::Tensor row_R = at::tensor(rows, at::kLong).to(device_);
    for (BlockCache& cache : caches_) cache.keep(row_R);
  }

  const Model& model_;
  at::Device device_;
  const SamplingOptions& options_;
  const Decode& decode_;
  std::vector<Tokens> next_;  // of each open prompt: all of it, then its last token
  std::vector<Tokens> answers_;
  std::vector<size_t> open_;  // prompts, one a row of the caches
  std::vector<parallel::RandomStream> streams_;
  std::vector<BlockCache> caches_;
  int64_t position_ = 0;  // of the next tokens: a stochastic router draws again for each
};

bool each_token_alone(const Model& model) {
  for (const auto& module : model.modules(/*include_self=*/false)) {
    const auto* layer = dynamic_cast<const RoutedLayer*>(module.get());
    if (layer != nullptr && !layer->each_token_alone()) return false;
  }
  return true;
}

/// batch(prompts, number of the first) for so many at a time.
template <class AnswerBatch>
std::vector<Tokens> in_batches(const Model& model, const std::vector<Tokens>& prompts, const SamplingOptions& options,
                               const AnswerBatch& answer) {
  const at::NoGradGuard no_gradient;
  for (const Tokens& prompt : prompts) parallel::check_internal(!prompt.empty(), "generate: a prompt has no token");
  const int64_t most = each_token_alone(model) ? options.batch : 1;
  std::vector<Tokens> answers;
  for (auto begin = prompts.begin(); begin != prompts.end();) {
    const auto end = begin + std::min<int64_t>(most, prompts.end() - begin);
    for (Tokens& tokens : answer(std::vector<Tokens>(begin, end), options.first_prompt + (begin - prompts.begin()))) {
      answers.push_back(std::move(tokens));
    }
    begin = end;
  }
  return answers;
}

}  // namespace

std::vector<std::vector<int64_t>> generate(DecoderLm& model, const std::vector<std::vector<int64_t>>& prompts,
                                           const SamplingOptions& options) {
  const Decode decode = [&](const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>& caches) {
    return model.decode(tokens, pass, caches);
  };
  return in_batches(model, prompts, options, [&](std::vector<Tokens> batch, int64_t first) {
    return Continuations(model, std::move(batch), first, options, decode).run();
  });
}

std::vector<std::vector<int64_t>> generate(EncoderDecoder& model, const std::vector<std::vector<int64_t>>& sources,
                                           int64_t start, const SamplingOptions& options) {
  return in_batches(model, sources, options, [&](const std::vector<Tokens>& batch, int64_t first) {
    parallel::LocalCommunicator alone;
    const Memory memory =
        model.encode(side_of(device_of(model), batch, options), {.group = alone, .draws = {.seed = options.seed}});
    const Decode decode = [&](const TokenSide& tokens, const PassScope& pass, std::vector<BlockCache>& caches) {
      return model.decode(tokens, pass, memory, caches);
    };
    return Continuations(model, std::vector<Tokens>(batch.size(), {start}), first, options, decode).run();
  });
}

}  // namespace moetrain
