// defines: LocalExperts, dispatched_choices: experts so cheap that they are computed where the token is
#pragma once
#include <torch/nn/module.h>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/layers/parameter_source.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {

// T tokens, D width, K choices per token, C constant experts

/// The zero-computation experts of MoE++ (Jin et al. 2024) and the null experts of AdaMoE (Zeng et al. 2024):
/// zero and null -> 0; copy -> x; constant c -> a1 x + a2 v_c with (a1, a2) = softmax(W_c x). Initial v: N(0, 1), as
/// their public code; initial W_c: normal with `std`, where theirs is LibTorch's uniform default (our choice).
/// Parameters, where there are constants: value [C, D], mix [C, 2, D].
class LocalExperts : public torch::nn::Module {
 public:
  LocalExperts(const ParameterSource& source, const ExpertKinds& kinds, int64_t width, double std);

  /// Whether any kind gives more than 0.
  static bool needed(const ExpertKinds& kinds) { return kinds.copy + kinds.constant > 0; }

  /// out[t] = sum over the token's choices of a local expert of weight * expert(token). [T, D] -> [T, D]; T may be 0.
  /// `assignment` numbers all kinds. Sums in a fixed order without atomics: a token's copies in order of choice,
  /// then its constants by number.
  at::Tensor forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const;

 private:
  at::Tensor constants(const at::Tensor& tokens_TD, const parallel::Assignment& assignment,
                       const at::Tensor& copied_T1) const;

  ExpertKinds kinds_;
  at::Tensor value_CD_, mix_C2D_;  // undefined where there are no constants
};

/// What of an assignment to all kinds is dispatched: the choices of its first `ffn` experts; all others are kDropped.
parallel::Assignment dispatched_choices(const parallel::Assignment& assignment, int64_t ffn);

}  // namespace moetrain
