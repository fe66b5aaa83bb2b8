// defines: Router, RouterShape, RouterPreset, RouterDemands, builtin_routers, check_router, reads_tasks, check_learns
#pragma once
#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "moetrain/config/moe_config.h"
#include "moetrain/layers/parameter_source.h"
#include "moetrain/routers/capacities/capacity_rules.h"
#include "moetrain/routers/routing.h"
#include "parallel/base/name_table.h"

namespace moetrain {

class Router : public torch::nn::Module {
 public:
  /// tokens_TD: the normed input of the slot in which the layer stands. Collective over the scope's group.
  virtual RoutingDecision forward(const at::Tensor& tokens_TD, const RoutingContext& context) = 0;

  /// Called once after each update, on every rank, with the sum of global_choices_E over all micro-batches of the
  /// update. What it moves are buffers, not parameters: no gradient, no optimizer.
  virtual void after_update(const at::Tensor& global_choices_E) { static_cast<void>(global_choices_E); }
};

struct RouterShape {
  int64_t width = 0;                    // of the model
  double std = 0.02;                    // of initial weights
  int64_t previous_experts = 0;         // of all kinds, in the MoE layer before; 0: this is the first
  CapacityRule capacity = {};           // that the config names
  std::vector<std::string> tasks = {};  // of the run, by number
};

using RouterMaker = std::shared_ptr<Router> (*)(const ParameterSource& source, const MoeConfig& config,
                                                const RouterShape& shape);

/// What a published router fixes of the keys of [moe]; a recipe that says otherwise is refused.
struct RouterDemands {
  int64_t top_k = 0;            // 0: any number up to the experts
  std::vector<Gate> gates;      // legal ones; empty: any
  bool biased_scores = false;   // MoeConfig::router_bias means something to its scores
  bool learned = true;          // its logits are a function of the tokens and of parameters
  bool learned_noise = false;   // it adds noise of a learned scale, which the `load` loss needs
  bool capacity = true;         // an expert's capacity may be bounded
  bool draws = false;           // it draws in training even without jitter
  bool always_draws = false;    // in evaluation too
  bool experts_choose = false;  // in training experts choose tokens: a capacity and drop = probability is what it is
  bool reads_ids = false;       // of tokens, which neither patches of images nor whole sequences have
  bool reads_tasks = false;     // of sequences
  bool sequences = true;        // it may also route whole sequences, of which it sees one vector each
  bool causal_safe = true;      // in evaluation a token's experts do not depend on later tokens
  bool pre_gated = false;       // its logits are those of the model's one router (PreGate)
};

/// Where the layer stands.
struct RouterUse {
  bool causal = true;                   // in a decoder block: no token may see later ones
  bool ids = true;                      // of a model that reads tokens
  bool pre_gates = true;                // of one that may have a router at its entrance
  std::vector<std::string> tasks = {};  // of the run, by number
};

struct RouterPreset {
  RouterMaker make = nullptr;
  RouterDemands demands = {};
  /// What only this router knows: its own table [moe.NAME] in a recipe, and what it refuses of it.
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const MoeConfig& config) = nullptr;
  /// What it refuses of the tasks that there are, at least one, where it reads them.
  void (*check_tasks)(const MoeConfig& config, const std::vector<std::string>& tasks) = nullptr;
};

/// The published routers. A program outside the tree adds its own rows.
parallel::NameTable<RouterPreset> builtin_routers();

/// Whether the layer's router has to be told of each sequence's task.
bool reads_tasks(const MoeConfig& config, const RouterDemands& demands);

/// UserError where no gradient reaches the router, which matters to training alone.
void check_learns(const MoeConfig& config);

/// UserError where [moe] contradicts what the router of its name is, or combines what makes no sense.
void check_router(const MoeConfig& config, const RouterPreset& preset, const CapacityRule& capacity,
                  const RouterUse& use = {});

}  // namespace moetrain
