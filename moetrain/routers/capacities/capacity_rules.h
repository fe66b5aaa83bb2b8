// How many tokens an expert takes: a table, as routers are.
// defines: CapacityRule, builtin_capacities, BoundConfig, ByKindConfig, Drop, visit
#pragma once
#include <array>
#include <vector>

#include "moetrain/config/moe_config.h"
#include "parallel/base/name_table.h"

namespace moetrain {

/// What leaves a full expert (apply_capacity).
enum class Drop { kPosition, kProbability, kRandom };
constexpr std::array<const char*, 3> names_of(Drop) { return {"position", "probability", "random"}; }

/// What every rule that bounds an expert is told: [moe.bound] in a recipe.
struct BoundConfig {
  double factor = 1.25;
  double evaluation = 0.0;
  int64_t minimum = 1;
  parallel::Enum<Drop> drop = Drop::kPosition;
};

template <class Visitor>
void visit(BoundConfig& config, Visitor& field) {
  using namespace parallel;
  field("factor", config.factor, above(0),
        "capacity = factor: an expert takes ceil(factor * top_k * tokens / experts) of the global micro-batch");
  field("evaluation", config.evaluation, at_least(0),
        "the factor in evaluation and decoding; 0: never drop there; Switch: 2.0");
  field("minimum", config.minimum, between(1, 1 << 24), "an expert takes at least so many tokens; DeepSpeed: 4");
  field("drop", config.drop, anything(),
        "what leaves a full expert: later tokens and later choices, improbable choices, or choices drawn at random");
}

/// Of the rule "by_kind".
struct ByKindConfig {
  double tau = 0.75;
};

template <class Visitor>
void visit(ByKindConfig& config, Visitor& field) {
  field("tau", config.tau, parallel::above(0),
        "capacity of a feed-forward over that of a zero-computation expert; MoE++: 0.75");
}

struct CapacityRule {
  /// How many choices each expert takes of a global micro-batch of so many tokens, at least BoundConfig::minimum (and
  /// at most the tokens, above which none is needed); null: any number.
  std::vector<int64_t> (*capacities)(const MoeConfig& config, int64_t global_tokens, double factor) = nullptr;
  bool even = true;  // the same for experts of all kinds
  /// What only this rule knows: its own table [moe.NAME] in a recipe, and what it refuses of [moe].
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const MoeConfig& config) = nullptr;

  bool bounds() const { return capacities != nullptr; }
};

/// N tokens of the global micro-batch, k = top_k:
/// dropless: any number. factor: ceil(factor * k * N / E).
/// by_kind: for a feed-forward ceil(factor * tau * k * N / (tau * E_F + E_Z)), for one of the E_Z zero-computation
/// experts ceil(factor * k * N / (tau * E_F + E_Z)) (MoE++, Jin et al. 2024, from memory of the paper).
/// A program outside the tree adds its own rows.
parallel::NameTable<CapacityRule> builtin_capacities();

}  // namespace moetrain
