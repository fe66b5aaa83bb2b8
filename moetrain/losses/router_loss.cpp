#include "moetrain/losses/router_loss.h"

#include <ATen/ATen.h>

#include "parallel/base/fault.h"

namespace moetrain {

std::vector<ChosenLoss> chosen_losses(const MoeConfig& config, const parallel::NameTable<RouterLoss>& losses) {
  for (const auto& [name, weight] : config.losses) losses.at(name);
  std::vector<ChosenLoss> chosen;
  for (const std::string& name : losses.names()) {
    const RouterLoss& loss = losses.at(name);
    const auto said = config.losses.find(name);
    const parallel::Weight weight = said == config.losses.end() ? loss.weight : said->second;
    if (weight.is_on()) chosen.push_back({name, loss, weight});
  }
  return chosen;
}

LossTerms router_losses(const std::vector<ChosenLoss>& chosen, const RoutingDecision& decision, const MoeConfig& config,
                        const RoutingContext& context) {
  LossTerms terms;
  for (const ChosenLoss& each : chosen) {
    const double now = each.weight.at(context.scope.update);
    terms.add(each.name, now > 0 ? each.loss.share(decision, config, context) * now
                                 : at::zeros({}, decision.probabilities_TE.options().requires_grad(false)));
  }
  return terms;
}

void check_losses(const MoeConfig& config, const RouterDemands& demands,
                  const parallel::NameTable<RouterLoss>& losses) {
  for (const auto& [name, loss, weight] : chosen_losses(config, losses)) {
    const std::string reason = !demands.learned          ? "this router has no parameter that the loss could move"
                               : loss.refusal != nullptr ? loss.refusal(config, demands)
                                                         : "";
    if (!reason.empty()) {
      parallel::user_error("moe.losses.", name, " (", weight.value, ") with moe.router = \"", config.router,
                           "\": ", reason, "; nearest legal: ", name, " = 0");
    }
    if (loss.check != nullptr) loss.check(config);
  }
}

}  // namespace moetrain
