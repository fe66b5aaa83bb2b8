// A loss that is read off a layer's routing, as a row of a table.
// defines: RouterLoss, LossSizes, builtin_losses, ChosenLoss, chosen_losses, router_losses, check_losses
#pragma once
#include <string>
#include <vector>

#include "moetrain/losses/loss_terms.h"
#include "moetrain/routers/router.h"

namespace moetrain {

/// What planning knows of one micro-batch.
struct LossSizes {
  int64_t sequences = 0;  // of all ranks
  int64_t number = 4;     // bytes of a probability: at least float32
};

struct RouterLoss {
  /// This rank's share (LossTerm) of one micro-batch, before its weight: a scalar. Called on every rank or on none.
  at::Tensor (*share)(const RoutingDecision& decision, const MoeConfig& config,
                      const RoutingContext& context) = nullptr;
  const char* sentence = "";      // of its weight, for `--keys`
  parallel::Weight weight = 0.0;  // where a recipe says nothing of it
  /// Its own table [moe.NAME] in a recipe, legal where its weight is above 0, and what it refuses of it.
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const MoeConfig& config) = nullptr;
  /// Why it makes no sense with this router and these experts; empty: it does.
  std::string (*refusal)(const MoeConfig& config, const RouterDemands& demands) = nullptr;
  /// Bytes that each rank hands in to sum statistics; null: none.
  int64_t (*summed_bytes)(const MoeConfig& config, const LossSizes& sizes) = nullptr;
};

/// The published losses. A program outside the tree adds its own rows.
parallel::NameTable<RouterLoss> builtin_losses();

/// One that a config switches on.
struct ChosenLoss {
  std::string name;
  RouterLoss loss;
  parallel::Weight weight;
};

/// With the weight that the config says, or else the loss's own. UserError for a weight of a loss that is not in the
/// table.
std::vector<ChosenLoss> chosen_losses(const MoeConfig& config, const parallel::NameTable<RouterLoss>& losses);

/// Weighted shares. Outside of its weight's window of updates a loss is 0 and not computed, so that the names are the
/// same in every update. Collective over the scope's group.
LossTerms router_losses(const std::vector<ChosenLoss>& chosen, const RoutingDecision& decision, const MoeConfig& config,
                        const RoutingContext& context);

/// UserError where a loss that one layer's config switches on makes no sense there.
void check_losses(const MoeConfig& config, const RouterDemands& demands, const parallel::NameTable<RouterLoss>& losses);

}  // namespace moetrain
