// defines: HeadExperts, heads_expert: experts over an attention's query and output projections
#pragma once
#include "moetrain/experts/expert_weights.h"

namespace moetrain {

// T tokens, K choices, D width, A hidden units of one expert (all its heads together)

/// Attention modules (ModuleFormer, Shen et al. 2023; mixture of attention heads, Zhang et al. 2022): expert m has a
/// query projection W_q [D, A] and an output projection W_o [A, D]. What is between them, the tokens' queries looking
/// at keys that all experts share, is the layer's: rows travel for `map`, come home, and travel again for `reduce`.
class HeadExperts : public ExpertWeights {
 public:
  /// Of the kind "heads", all of one width. UserError where they cannot be laid out.
  HeadExperts(const ParameterSource& source, const parallel::NameTable<ExpertPreset>& kinds, const ExpertShape& shape,
              const MoeConfig& config);

  /// out[t, j] = tokens[t] W_q of choice j: [T, D] -> [T, K, A]; zeros of a dropped one. Weights of choices mean
  /// nothing to it. Collective over Mesh::experts(), as reduce is.
  at::Tensor map(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const;
  /// out[t] = sum over j of weight[t, j] * mixed[t, j] W_o of choice j: [T, K, A] -> [T, D].
  at::Tensor reduce(const at::Tensor& mixed_TKA, const parallel::Assignment& assignment) const;
  std::vector<ExpertCall> calls(int64_t places) const override;

 private:
  struct Half {
    parallel::ExpertGroup group;
    std::vector<at::Tensor> weights;
    std::shared_ptr<const parallel::ExpertCompute> compute;
  };
  /// Of each range its weight number `half`.
  Half add_half(const ParameterSource& source, const std::vector<ExpertRange>& ranges, const ExpertShape& shape,
                const MoeConfig& config, size_t half);

  int64_t width_, hidden_ = 0;
  Half map_, reduce_;
  ExpertCosts costs_;  // of one half
};

/// Of both halves.
ExpertPreset heads_expert();

/// Of the costs of both halves those of one.
ExpertCosts half_of(const ExpertCosts& costs);

}  // namespace moetrain
