// defines: check_attention, check_attention_modules
#pragma once
#include <vector>

#include "moetrain/config/moe_config.h"
#include "moetrain/models/model.h"

namespace moetrain {

/// UserError where [attention] contradicts itself, or what the stacks of blocks are: windows, positions, weights,
/// latents.
void check_attention(const ModelConfig& model, const std::vector<StackShape>& stacks);

/// UserError where experts cannot stand in the place of an attention: in a block that has none, beside what only a
/// dense one may be told, of a width that model.heads does not cut, with more ranks in a tensor group than heads of
/// keys.
void check_attention_modules(const ModelConfig& model, const MoeConfig& moe, int64_t tensor);

}  // namespace moetrain
