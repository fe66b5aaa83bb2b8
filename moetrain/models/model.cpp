#include "moetrain/models/model.h"

#include <ATen/ATen.h>

namespace moetrain {

TokenSide TokenSide::whole(const at::Tensor& ids_SL) {
  return {.ids_T = ids_SL.flatten(),
          .sequences = Sequences::uniform(ids_SL.size(0), ids_SL.size(1), ids_SL.device()),
          .global_tokens = ids_SL.numel(),
          .global_sequences = ids_SL.size(0)};
}

BatchScope scope_of(const TokenSide& side, const PassScope& pass) {
  const at::Tensor own_T = side.sequences.sequence_T();
  return {.group = pass.group,
          .global_tokens = side.global_tokens,
          .training = pass.training,
          .first_token = side.first_token,
          .draws = pass.draws,
          .update = pass.update,
          .earlier_choices = pass.earlier_choices,
          .global_sequences = side.global_sequences,
          .sequence_T = side.sequence_number_S.defined() ? side.sequence_number_S.index_select(0, own_T)
                                                         : own_T + side.first_sequence,
          .token_ids_T = side.ids_T};
}

void Model::after_update(const std::vector<LayerChoices>& choices) {
  for (const auto& module : modules(/*include_self=*/false)) {
    auto* layer = dynamic_cast<MoeLayer*>(module.get());
    if (layer == nullptr) continue;
    for (const LayerChoices& each : choices) {
      if (each.layer == layer->number()) layer->after_update(each.global_choices_E);
    }
  }
}

}  // namespace moetrain
