#include <ATen/ATen.h>

#include "moetrain/routers/scores/scores.h"

namespace moetrain {
namespace {

class MlpScores : public Scores {
 public:
  explicit MlpScores(const ScoresInput& input) {
    const MlpConfig& config = input.config.own<MlpConfig>();
    tanh_ = config.activation == MlpActivation::kTanh;
    const int64_t experts = input.experts();
    const int64_t hidden = config.hidden > 0 ? config.hidden : 8 * experts;
    hidden_HD_ = input.source.normal("hidden", {hidden, input.shape.width}, input.shape.std);
    weight_EH_ = input.source.normal("weight", {experts, hidden}, input.shape.std);
  }
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext&) const override {
    const at::ScalarType wide = tokens_TD.scalar_type();
    const at::Tensor inner_TH = at::linear(tokens_TD, hidden_HD_.to(wide));
    const at::Tensor opened_TH = tanh_ ? at::tanh(inner_TH) : at::gelu(inner_TH);
    return {.logits_TE = at::linear(opened_TH, weight_EH_.to(wide)), .clean_logits_TE = {}, .noise_scale_TE = {}};
  }
  NamedParameters parameters() const override { return {{"hidden", hidden_HD_}, {"weight", weight_EH_}}; }

 private:
  bool tanh_ = true;
  at::Tensor hidden_HD_, weight_EH_;
};

}  // namespace

std::unique_ptr<Scores> mlp_scores(const ScoresInput& input) { return std::make_unique<MlpScores>(input); }

}  // namespace moetrain
