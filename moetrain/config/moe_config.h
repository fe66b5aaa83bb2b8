// defines: MoeConfig, LayerKeys, SequenceRoutingConfig, section_of, visit; Gate, SharedCombine
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "moetrain/config/layer_kinds.h"
#include "parallel/base/field.h"
#include "parallel/base/own_keys.h"
#include "parallel/base/weight.h"

namespace moetrain {

/// The weights with which a token's experts are combined. S: the score of a chosen expert; mostly its probability.
enum class Gate {
  kSum1,      // S / sum of the chosen S; the softmax over the chosen logits: Mixtral, Shazeer
  kRaw,       // S: Switch, Qwen2-MoE
  kSum1Kept,  // S / sum of the chosen S that were not dropped: GShard, DeepSpeed's top-2
  kTrue1,     // S / sum of the chosen S whose experts put anything out, and 0 for the others: AdaMoE (null experts) and
              // MoE++ (its zero expert's gate is set to 0 before the sum)
  kHard,      // 1 / number of the token's choices, without gradient: THOR, hash layers, SkillNet; a mean of experts
  kStraightThrough,  // 1 / K, with the gradient of S (Bengio et al. 2013): Hecto
};
constexpr std::array<const char*, 6> names_of(Gate) {
  return {"sum1", "raw", "sum1_kept", "true1", "hard", "straight_through"};
}

/// How the shared expert joins the routed ones.
enum class SharedCombine { kAdd, kResidual };
constexpr std::array<const char*, 2> names_of(SharedCombine) { return {"add", "residual"}; }

/// One MoE layer: router, experts, always-on branch and losses; and which blocks of a model hold it. A model whose
/// layers are of several kinds has `named` ones beside it, each a whole config; what belongs to one block alone is
/// read by layer_configs (moetrain/moe/expert_blocks.h).
struct MoeConfig : parallel::HasOwnKeys {
  std::string layers = "all";
  std::string placement;
  std::string router = "top_k";
  int64_t experts = 8;
  int64_t top_k = 2;
  std::vector<int64_t> experts_by_layer;
  std::string expert = "feed_forward";
  std::vector<int64_t> expert_weights;
  parallel::Enum<Rows> rows = Rows::kTokens;
  int64_t latent = 0;
  int64_t hidden = 256;
  int64_t constant_experts = 0;
  int64_t copy_experts = 0;
  int64_t zero_experts = 0;
  int64_t null_experts = 0;
  // The router's.
  parallel::Enum<Gate> gate = Gate::kSum1;
  double route_scale = 1.0;
  std::string capacity = "dropless";  // a name of builtin_capacities(), or of a table that has more
  double jitter = 0.0;
  bool gating_residual = false;
  bool task_bias = false;
  bool router_bias = false;
  // The always-on branch's.
  int64_t shared_hidden = 0;
  parallel::Enum<SharedCombine> shared_combine = SharedCombine::kAdd;
  bool shared_gate = true;
  // Of each router loss that anything is said of, by its name; the others have their own defaults (RouterLoss).
  std::map<std::string, parallel::Weight> losses = {};
  std::string name = {};              // of [layer.NAME]; empty: [moe] itself
  Slot slot = Slot::kFeedForward;     // of one block's layer (layer_configs): in whose place it stands
  std::vector<MoeConfig> named = {};  // in the order of the recipe; those have none themselves
};

/// Of its keys: "moe", or "layer.NAME".
inline std::string section_of(const MoeConfig& config) { return config.name.empty() ? "moe" : "layer." + config.name; }

/// The keys of [layer.NAME]: those of [moe] but for what places layers.
struct LayerKeys {
  MoeConfig& config;
};

/// With rows = sequences.
struct SequenceRoutingConfig {
  parallel::Enum<Pool> seen = Pool::kFirst;
};

template <class Visitor>
void visit(SequenceRoutingConfig& config, Visitor& field) {
  field("seen", config.seen, parallel::anything(), "what the router sees of a sequence: a token, or the mean of all");
}

template <class Visitor>
void visit_router(MoeConfig& config, Visitor& field) {
  using namespace parallel;
  field(
      "gate", config.gate, anything(),
      "combine weights: sum1 (softmax over the chosen, as Mixtral), raw (softmax over all, as Switch), sum1_kept (as "
      "sum1, over what was not dropped, as GShard), true1 (as sum1, over the chosen that are no zero or null experts, "
      "as MoE++ and AdaMoE), hard (1 / a token's experts, for hash, thor and task_table), straight_through (1 / top_k "
      "with the gradient of "
      "raw, "
      "as Hecto)");
  field("route_scale", config.route_scale, above(0), "combine weights are multiplied by this; DeepSeek-V3: 2.5");
  field("capacity", config.capacity, anything(),
        "never drop, or bound the tokens of an expert; by_kind: less for feed-forwards than for zero-computation "
        "experts, as MoE++");
  field("jitter", config.jitter, half_open(0, 1),
        "in training the router sees its tokens times U[1 - jitter, 1 + jitter]; 0: off, Switch: 0.01");
  field("router_bias", config.router_bias, anything(),
        "linear scores have a learned bias of each expert (GPT-OSS, Switch)");
  field("gating_residual", config.gating_residual, anything(),
        "add to the logits a learned product with those of the MoE layer before (MoE++)");
  field(
      "task_bias", config.task_bias, anything(),
      "add to the logits a learned number of each of tasks.names and expert: what a linear router makes of the task's "
      "embedding beside the token (M3ViT, task-conditioned)");
}

template <class Visitor>
void visit(LayerKeys& keys, Visitor& field) {
  using namespace parallel;
  MoeConfig& config = keys.config;
  field("router", config.router, anything(),
        "published router; what only one of them knows stands in its own table, such as [moe.thor]");
  field("experts", config.experts, between(1, 1 << 16), "routed experts in a layer");
  field("top_k", config.top_k, between(1, 1 << 10), "experts per token");
  field("experts_by_layer", config.experts_by_layer, between(1, 1 << 16),
        "one number of routed experts for each block with experts, in order (as PR-MoE); empty: moe.experts in each");
  field(
      "expert", config.expert, anything(),
      "what the routed experts are: one kind for all, or several with their numbers, such as \"gru:1,feed_forward:3\"; "
      "a width of their own in brackets: \"feed_forward:4,feed_forward(128):4\"");
  field(
      "expert_weights", config.expert_weights, between(0, 1 << 16),
      "of each routed expert the number of the set of weights that it computes with, such as [0, 0, 1], where several "
      "share one, as merging leaves them; moe.expert then counts sets; empty: each has its own");
  field("rows", config.rows, anything(),
        "what is routed and dispatched: each token alone, or, of blocks that see whole sequences, these");
  field("latent", config.latent, between(0, 1 << 20),
        "width in which routed experts work, tokens being projected down before dispatch (LatentMoE); 0: off");
  field("hidden", config.hidden, between(1, 1 << 24), "hidden width of one expert, where moe.expert gives it no other");
  field("constant_experts", config.constant_experts, between(0, 1 << 10),
        "more experts: a learned constant mixed with the token (MoE++)");
  field("copy_experts", config.copy_experts, between(0, 1 << 10), "more experts: the token itself (MoE++)");
  field("zero_experts", config.zero_experts, between(0, 1 << 10), "more experts: nothing (MoE++)");
  field("null_experts", config.null_experts, between(0, 1 << 10),
        "more experts: nothing, balanced as a whole and not one by one (AdaMoE)");
  visit_router(config, field);
  field("shared_hidden", config.shared_hidden, between(0, 1 << 24), "hidden width of the shared expert; 0: none");
  field("shared_gate", config.shared_gate, anything(), "scale the shared expert by a sigmoid gate (as Qwen2-MoE)");
  field("shared_combine", config.shared_combine, anything(),
        "add the shared expert to the routed ones, or mix both by a learned softmax of two (residual, as PR-MoE)");
}

template <class Visitor>
void visit(MoeConfig& config, Visitor& field) {
  using namespace parallel;
  field("layers", config.layers, anything(),
        "blocks with experts: \"all\", \"none\", \"odd\", \"even\", \"every:N\" or a list from 0 such as \"1,3\" or "
        "\"0,4-11\"");
  field("placement", config.placement, anything(),
        "in place of layers, where they are of several kinds: which blocks hold which, such as \"moe:even; wide:1,3\"; "
        "wide is [layer.wide], moe is [moe] itself; in all others a dense feed-forward. NAME.attention: in the "
        "attention's "
        "place, \"moe:all; heads.attention:all\"");
  LayerKeys keys{config};
  visit(keys, field);
}

}  // namespace moetrain
