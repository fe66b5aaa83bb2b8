#include "moetrain/routers/top_k_router.h"

#include <ATen/ATen.h>

#include "moetrain/routers/capacity.h"
#include "moetrain/routers/select_top_k.h"

namespace moetrain {
namespace {

class TopKRouter : public Router {
 public:
  TopKRouter(const ParameterSource& source, const MoeConfig& config, int64_t width, double std)
      : config_(config),
        weight_ED_(register_parameter("weight", source.normal("weight", {config.experts, width}, std))) {}

  RoutingDecision forward(const at::Tensor& tokens_TD, const RoutingContext& context) override {
    const at::ScalarType wide = tokens_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    RoutingDecision decision;
    decision.logits_TE = at::linear(tokens_TD.to(wide), weight_ED_.to(wide));
    decision.probabilities_TE = at::softmax(decision.logits_TE, 1);
    const at::Tensor chosen_TK = select_top_k(decision.probabilities_TE.detach(), config_.top_k);
    at::Tensor weight_TK = decision.probabilities_TE.gather(1, chosen_TK);
    if (config_.gate == "sum1") weight_TK = weight_TK / weight_TK.sum(1, /*keepdim=*/true);
    CapacityOutcome kept = apply_capacity(chosen_TK, config_, context.scope);
    decision.global_choices_E = kept.global_choices_E;
    decision.dropped = kept.dropped;
    decision.assignment = {kept.expert_TK, weight_TK.to(tokens_TD.scalar_type()), config_.experts};
    return decision;
  }

 private:
  MoeConfig config_;
  at::Tensor weight_ED_;
};

}  // namespace

std::shared_ptr<Router> make_top_k_router(const ParameterSource& source, const MoeConfig& config, int64_t width,
                                          double std) {
  return std::make_shared<TopKRouter>(source, config, width, std);
}

}  // namespace moetrain
