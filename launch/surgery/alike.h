// What several parents must have in common. defines: check_alike
#pragma once
#include <vector>

#include "launch/surgery/operation.h"

namespace launch {

/// UserError, naming both parents and the key or tensor: fewer than two; another tokenizer; a recipe whose [model],
/// [attention], [moe] or [layer.NAME] says otherwise, but for the number of experts where `any_experts`.
void check_alike(const std::vector<Parent>& parents, bool any_experts);

}  // namespace launch
