#include "moetrain/moe/check_experts.h"

#include <string>

#include "moetrain/config/expert_kinds.h"
#include "parallel/base/fault.h"

namespace moetrain {
namespace {

using parallel::user_error;

void check_residual(const MoeConfig& config) {
  if (config.shared_hidden == 0) {
    user_error("moe.shared_combine = \"residual\" with moe.shared_hidden = 0: there is no shared expert to mix with; ",
               "nearest legal: shared_combine = \"add\" or shared_hidden = ", config.hidden);
  }
  if (config.shared_gate) {
    user_error(
        "moe.shared_gate = true with moe.shared_combine = \"residual\": the learned mix weighs the shared expert ",
        "already; nearest legal: shared_gate = false or shared_combine = \"add\"");
  }
}

void check_kinds(const MoeConfig& config) {
  const ExpertKinds kinds = expert_kinds(config);
  for (const ExpertKind& kind : expert_kind_table()) {
    if (kind.count == &ExpertKinds::ffn || kinds.*kind.count == 0) continue;
    user_error("moe.", kind.name, "_experts (", kinds.*kind.count, ") with moe.router = \"", config.router,
               "\": such experts are for a router that learns which tokens need less; nearest legal: ", kind.name,
               "_experts = 0 or router = \"top_k\"");
  }
}

}  // namespace

void check_experts(const MoeConfig& config, int64_t width, const MoeTables& tables) {
  if (config.shared_combine == SharedCombine::kResidual) check_residual(config);
  if (config.latent >= width) {
    user_error("moe.latent (", config.latent, ") must be below model.width (", width,
               "), or nothing gets narrower; nearest legal: latent = ", width - 1, " or latent = 0");
  }
  const RouterDemands& demands = tables.routers.at(config.router).demands;
  if (!demands.learned || !demands.causal_safe) check_kinds(config);
  for (const ExpertRange& range : expert_ranges(config, tables.experts)) {
    if (range.preset->sequences && config.rows == Rows::kTokens) {
      user_error("moe.expert = \"", config.expert, "\" with moe.rows = \"tokens\": ", range.kind,
                 " experts read whole sequences; nearest legal: rows = \"sequences\" or expert = \"feed_forward\"");
    }
    if (range.preset->check != nullptr) range.preset->check(config);
  }
}

}  // namespace moetrain
