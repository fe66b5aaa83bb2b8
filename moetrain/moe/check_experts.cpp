#include "moetrain/moe/check_experts.h"

#include <string>
#include <vector>

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

[[noreturn]] void refuse_slot(const MoeConfig& config, const ExpertRange& range,
                              const parallel::NameTable<ExpertPreset>& kinds) {
  std::vector<std::string> legal = kinds.names();
  std::erase_if(legal, [&](const std::string& name) { return kinds.at(name).slot != config.slot; });
  user_error("moe.expert = \"", config.expert, "\" in the place of ",
             config.slot == Slot::kAttention ? "an attention" : "a feed-forward", ": ", range.kind,
             " experts stand in another's; legal there: ", parallel::list_names(legal),
             config.slot == Slot::kAttention ? "" : ", or NAME.attention in moe.placement");
}

/// What a layer in an attention's place has none of.
void check_modules(const MoeConfig& config, const MoeTables& tables) {
  const char* place = " in the place of an attention; legal: ";
  const RouterDemands& demands = tables.routers.at(config.router).demands;
  if (demands.experts_choose || !demands.causal_safe) {
    user_error("moe.router = \"", config.router, "\"", place, "a router by which tokens choose, such as \"mlp\"");
  }
  if (config.rows != Rows::kTokens) user_error("moe.rows = \"", config.rows, "\"", place, "\"tokens\"");
  if (config.latent > 0) user_error("moe.latent = ", config.latent, place, "0");
  if (config.shared_hidden > 0) user_error("moe.shared_hidden = ", config.shared_hidden, place, "0");
  if (config.gating_residual) user_error("moe.gating_residual = true", place, "false");
  if (!config.expert_weights.empty()) user_error("moe.expert_weights", place, "none: modules share no weights");
  const ExpertKinds kinds = expert_kinds(config);
  if (kinds.zero_computation() > 0) {
    user_error("constant, copy, zero or null experts (", kinds.zero_computation(), ")", place, "none");
  }
  for (const ExpertRange& range : expert_ranges(config, tables.experts)) {
    if (range.hidden == config.hidden) continue;
    user_error("moe.expert = \"", config.expert, "\" with moe.hidden = ", config.hidden,
               ": modules that share keys are of one width; legal: ", range.kind, "(", config.hidden, ")");
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
    if (range.preset->slot != config.slot) refuse_slot(config, range, tables.experts);
    if (range.preset->check != nullptr) range.preset->check(config);
  }
  if (config.slot == Slot::kAttention) check_modules(config, tables);
}

}  // namespace moetrain
