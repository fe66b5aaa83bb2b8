// defines: soft_router, SoftConfig
#pragma once
#include "moetrain/routers/router.h"

namespace moetrain {

/// Soft MoE (Puigcerver et al. 2024, section 2.1). Of each sequence X [L, D], every expert computes SoftConfig::slots
/// slots: slots = softmax over the L tokens of (X Phi)^T, times X; out = softmax over the P slots of X Phi, times the
/// experts' outputs. No choice, no drop, and every token weighs in every slot: only for blocks whose tokens may see
/// each other. Left out: the normalisation of X and Phi (section 2.3), which the paper needs at large widths. A
/// sequence may lie on several ranks: its sums are all-reduced, and the first of its ranks computes its slots. Losses
/// and metrics read the softmax over slots, summed by expert. Parameter: weight [P, D], an expert's slots side by side.
std::shared_ptr<Router> soft_router(const ParameterSource& source, const MoeConfig& config, const RouterShape& shape);

struct SoftConfig {
  int64_t slots = 1;
};

template <class Visitor>
void visit(SoftConfig& config, Visitor& field) {
  field("slots", config.slots, parallel::between(1, 1 << 20), "slots of each expert in each sequence");
}

}  // namespace moetrain
