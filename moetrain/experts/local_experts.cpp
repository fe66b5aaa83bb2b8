#include "moetrain/experts/local_experts.h"

#include <ATen/ATen.h>

namespace moetrain {

LocalExperts::LocalExperts(const ParameterSource& source, const ExpertKinds& kinds, int64_t width, double std)
    : kinds_(kinds) {
  if (kinds.constant == 0) return;
  value_CD_ = register_parameter("value", source.normal("value", {kinds.constant, width}, 1.0));
  source.call_vectors("value");
  mix_C2D_ = register_parameter("mix", source.normal("mix", {kinds.constant, 2, width}, std));
}

at::Tensor LocalExperts::forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const {
  const int64_t first_copy = first_of_kind(kinds_, &ExpertKinds::copy);
  const at::Tensor copied_TK =
      (assignment.expert_TK >= first_copy).logical_and_(assignment.expert_TK < first_copy + kinds_.copy);
  const at::Tensor copied_T1 = (assignment.weight_TK * copied_TK).sum(1, /*keepdim=*/true);
  return kinds_.constant > 0 ? constants(tokens_TD, assignment, copied_T1) : copied_T1 * tokens_TD;
}

/// Copies and constants together: both are a factor of x, and constants a factor of each v besides.
at::Tensor LocalExperts::constants(const at::Tensor& tokens_TD, const parallel::Assignment& assignment,
                                   const at::Tensor& copied_T1) const {
  const int64_t count = kinds_.constant, first = first_of_kind(kinds_, &ExpertKinds::constant);
  const at::Tensor number_C = at::arange(first, first + count, assignment.expert_TK.options());
  const at::Tensor weight_TC =
      (assignment.weight_TK.unsqueeze(2) * (assignment.expert_TK.unsqueeze(2) == number_C)).sum(1);
  const at::Tensor score_TC2 =
      at::linear(tokens_TD, mix_C2D_.view({2 * count, tokens_TD.size(1)})).view({tokens_TD.size(0), count, 2});
  // Like the router's, a softmax at least in float32.
  const at::ScalarType wide = tokens_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor factor_TC2 = weight_TC.unsqueeze(2) * at::softmax(score_TC2, 2, wide).to(tokens_TD.scalar_type());
  // A multiplication with all C vectors, nearly all factors 0: gathering v would need atomics in backward.
  return (copied_T1 + factor_TC2.select(2, 0).sum(1, /*keepdim=*/true)) * tokens_TD +
         at::mm(factor_TC2.select(2, 1), value_CD_);
}

parallel::Assignment dispatched_choices(const parallel::Assignment& assignment, int64_t ffn) {
  if (assignment.num_experts == ffn) return assignment;
  return {at::where(assignment.expert_TK < ffn, assignment.expert_TK, parallel::Assignment::kDropped),
          assignment.weight_TK, ffn};
}

}  // namespace moetrain
