#include <ATen/ATen.h>

#include "moetrain/routers/draws.h"
#include "moetrain/routers/scores/scores.h"

namespace moetrain {
namespace {

at::Tensor product(const at::Tensor& tokens_TD, const at::Tensor& weight_ED) {
  return at::linear(tokens_TD, weight_ED.to(tokens_TD.scalar_type()));
}

/// Undefined where the router has none.
at::Tensor bias_of(const ScoresInput& input) {
  return input.config.router_bias ? input.source.constant("bias", {input.experts()}, 0.0) : at::Tensor();
}

class LinearScores : public Scores {
 public:
  explicit LinearScores(const ScoresInput& input)
      : weight_ED_(input.source.normal("weight", {input.experts(), input.shape.width}, input.shape.std)),
        bias_E_(bias_of(input)) {}
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext&) const override {
    at::Tensor logits_TE = product(tokens_TD, weight_ED_);
    if (bias_E_.defined()) logits_TE = logits_TE + bias_E_.to(logits_TE.scalar_type());
    return {.logits_TE = logits_TE, .clean_logits_TE = {}, .noise_scale_TE = {}};
  }
  NamedParameters parameters() const override {
    if (!bias_E_.defined()) return {{"weight", weight_ED_}};
    return {{"weight", weight_ED_}, {"bias", bias_E_}};
  }

 private:
  at::Tensor weight_ED_, bias_E_;
};

class NoisyScores : public Scores {
 public:
  explicit NoisyScores(const ScoresInput& input)
      : weight_ED_(input.source.normal("weight", {input.experts(), input.shape.width}, input.shape.std)),
        noise_weight_ED_(input.source.constant("noise_weight", {input.experts(), input.shape.width}, 0.0)) {}
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext& context) const override {
    const at::Tensor clean_TE = product(tokens_TD, weight_ED_);
    const BatchScope& scope = context.scope;
    if (!scope.training) return {.logits_TE = clean_TE, .clean_logits_TE = {}, .noise_scale_TE = {}};
    const at::Tensor scale_TE = at::softplus(product(tokens_TD, noise_weight_ED_));
    const parallel::RandomStream stream = scope.draws.stream("router noise", context.layer);
    const at::Tensor noise_TE =
        normal_draws(stream, scope.first_token * clean_TE.size(1), clean_TE.sizes(), clean_TE.options());
    return {clean_TE + noise_TE * scale_TE, clean_TE, scale_TE};
  }
  NamedParameters parameters() const override { return {{"weight", weight_ED_}, {"noise_weight", noise_weight_ED_}}; }

 private:
  at::Tensor weight_ED_, noise_weight_ED_;
};

}  // namespace

std::unique_ptr<Scores> linear_scores(const ScoresInput& input) { return std::make_unique<LinearScores>(input); }

std::unique_ptr<Scores> noisy_scores(const ScoresInput& input) { return std::make_unique<NoisyScores>(input); }

}  // namespace moetrain
