#include "moetrain/config/expert_kinds.h"
#include "moetrain/losses/load_balance.h"
#include "moetrain/losses/router_loss.h"
#include "moetrain/losses/routing_shares.h"
#include "moetrain/losses/statistic_share.h"

namespace moetrain {

// A loss that has a file of its own.
RouterLoss diversity_loss();

namespace {

/// One that reads neither keys nor the layer.
template <at::Tensor (*share)(const RoutingDecision&, const BatchScope&)>
at::Tensor of_scope(const RoutingDecision& decision, const MoeConfig&, const RoutingContext& context) {
  return share(decision, context.scope);
}

std::string needs_several(const MoeConfig& config, const RouterDemands&) {
  return expert_kinds(config).total() == 1 ? "one expert has no variation" : "";
}

std::string needs_noise(const MoeConfig& config, const RouterDemands& demands) {
  if (!demands.learned_noise) {
    return "the load of importance + load is a probability under noise of a learned scale (noisy_top_k)";
  }
  const int64_t experts = expert_kinds(config).total();
  if (config.top_k < experts) return needs_several(config, demands);
  return parallel::concat("with moe.top_k = moe.experts (", experts, ") every expert is chosen whatever the noise");
}

}  // namespace

parallel::NameTable<RouterLoss> builtin_losses() {
  return {"loss",
          {
              {"load_balance", load_balance_loss()},
              // ST-MoE (Zoph et al. 2022).
              {"router_z", {of_scope<router_z_share>, "weight of the router z-loss; 0: off", 0.001}},
              // Shazeer et al. 2017, both.
              {"importance",
               {.share = of_scope<importance_share>,
                .sentence = "weight of the CV^2 of the experts' summed gates; 0: off",
                .refusal = needs_several,
                .summed_bytes = bytes_of_each_expert}},
              {"load",
               {.share = of_scope<load_share>,
                .sentence = "router = noisy_top_k: weight of the CV^2 of the experts' smooth load; 0: off",
                .refusal = needs_noise,
                .summed_bytes = bytes_of_each_expert}},
              // Mod-Squad and ModuleFormer (Chen et al. 2022; Shen et al. 2023).
              {"mutual_information",
               {.share = of_scope<mutual_information_share>,
                .sentence = "weight of -I(token; expert): confident tokens, balanced experts; 0: off",
                .summed_bytes = bytes_of_each_expert}},
              {"concentration",
               {.share = of_scope<concentration_share>,
                .sentence =
                    "weight of the entropy of the mean probabilities: few experts for this text (ModuleFormer); 0: off",
                .summed_bytes = bytes_of_each_expert}},
              {"entropy", {of_scope<entropy_share>, "weight of the router's mean entropy: confident tokens; 0: off"}},
              // Hecto (with entropy).
              {"diversity", diversity_loss()},
          }};
}

}  // namespace moetrain
