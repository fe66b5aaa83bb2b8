#include <ATen/ATen.h>

#include "moetrain/routers/scores/scores.h"
#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"

namespace moetrain {
namespace {

class HashScores : public Scores {
 public:
  explicit HashScores(const ScoresInput& input)
      : experts_(input.experts()), table_(input.source.stream("hash of token ids")) {}
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext& context) const override {
    parallel::check_internal(context.scope.token_ids_T.defined(), "the hash router needs token ids");
    const at::Tensor id_T = context.scope.token_ids_T.to(at::kCPU).contiguous();
    parallel::check_internal(id_T.numel() == tokens_TD.size(0), id_T.numel(), " ids for ", tokens_TD.size(0),
                             " tokens");
    at::Tensor expert_T1 = at::empty({id_T.numel(), 1}, at::kLong);
    for (int64_t t = 0; t < id_T.numel(); ++t) {
      expert_T1.mutable_data_ptr<int64_t>()[t] = table_.below(id_T.const_data_ptr<int64_t>()[t], experts_);
    }
    const at::Tensor logits_TE =
        at::full({tokens_TD.size(0), experts_}, -1e4, tokens_TD.options().requires_grad(false));
    return {.logits_TE = logits_TE.scatter(1, parallel::send(expert_T1, tokens_TD.device()), 0.0),
            .clean_logits_TE = {},
            .noise_scale_TE = {}};
  }

 private:
  int64_t experts_;
  parallel::RandomStream table_;
};

class UniformScores : public Scores {
 public:
  explicit UniformScores(const ScoresInput& input) : experts_(input.experts()) {}
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext&) const override {
    const at::Tensor logits_TE = at::zeros({tokens_TD.size(0), experts_}, tokens_TD.options().requires_grad(false));
    return {.logits_TE = logits_TE, .clean_logits_TE = {}, .noise_scale_TE = {}};
  }

 private:
  int64_t experts_;
};

}  // namespace

std::unique_ptr<Scores> hash_scores(const ScoresInput& input) { return std::make_unique<HashScores>(input); }

std::unique_ptr<Scores> uniform_scores(const ScoresInput& input) { return std::make_unique<UniformScores>(input); }

}  // namespace moetrain
