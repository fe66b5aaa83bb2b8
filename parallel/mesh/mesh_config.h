// defines: MeshConfig, Dispatch, visit
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/base/field.h"

namespace parallel {

/// How rows reach their experts' ranks.
enum class Dispatch { kFlat, kHierarchical };
constexpr std::array<const char*, 2> names_of(Dispatch) { return {"flat", "hierarchical"}; }

/// How the ranks are laid out; data and expert_data are what is left of them.
struct MeshConfig {
  int64_t tensor = 1;
  int64_t expert = 1;
  int64_t expert_tensor = 1;
  std::vector<int64_t> experts_by_rank;
  double receive_bound = 4.0;
  Enum<Dispatch> dispatch = Dispatch::kFlat;
  int64_t zero = 0;
};

template <class Visitor>
void visit(MeshConfig& config, Visitor& field) {
  field("tensor", config.tensor, between(1, 1 << 16),
        "ranks that share each dense layer's heads, hidden units and vocabulary");
  field("expert", config.expert, between(1, 1 << 16),
        "ranks that share the experts of a layer, each expert whole on one of them");
  field("expert_tensor", config.expert_tensor, between(1, 1 << 16), "ranks that share the hidden units of each expert");
  field("experts_by_rank", config.experts_by_rank, between(0, 1 << 16),
        "how many experts each rank of the expert axis holds, in turn; empty: the same number each");
  field("receive_bound", config.receive_bound, at_least(1),
        "rows that a rank takes in at once, in even shares of a layer's rows; what comes above goes in further passes");
  field("dispatch", config.dispatch, anything(),
        "how rows reach their experts' ranks: each by itself, or a token once to each other host and spread inside it");
  field(
      "zero", config.zero, between(0, 2),
      "what the ranks that share a parameter divide among them: 0 nothing, 1 optimizer state, 2 gradients too (ZeRO)");
}

}  // namespace parallel
