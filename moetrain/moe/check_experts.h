// defines: check_experts
#pragma once
#include "moetrain/moe/moe_tables.h"

namespace moetrain {

/// UserError where the expert keys of one layer's config contradict each other, the model's width or its router:
/// a residual mix without a shared expert, or with a second gate; a latent width that is no narrower; kinds of experts
/// among which only a router that learns can choose; what the kind of its routed experts refuses; kinds in a place that
/// is not theirs, and in an attention's (MoeConfig::slot) what a layer has none of there.
void check_experts(const MoeConfig& config, int64_t width, const MoeTables& tables);

}  // namespace moetrain
