// defines: TwoPassConfig, visit
#pragma once
#include "parallel/base/field.h"

namespace moetrain {

/// two_pass: the same batch twice, with independent draws (experts, dropout, noise): both passes' cross-entropies and
/// `consistency` times the symmetric KL divergence of their predictions, logged as "consistency". THOR (Zuo et al.
/// 2022): no gradient is stopped, both passes teach and learn. The layers' losses of both passes are added.
struct TwoPassConfig {
  parallel::Weight consistency = 1.0;
};

template <class Visitor>
void visit(TwoPassConfig& config, Visitor& field) {
  field("consistency", config.consistency, parallel::at_least(0), "weight of the symmetric KL divergence (THOR: 5)");
}

}  // namespace moetrain
