// defines: DispatchedExperts: the routed experts of a layer, to whose ranks rows travel
#pragma once
#include "moetrain/experts/expert_weights.h"

namespace moetrain {

/// E experts of one kind and width or of several.
class DispatchedExperts : public ExpertWeights {
 public:
  /// `shape`: but for the hidden width, which is that of each range. UserError where they cannot be laid out.
  DispatchedExperts(const ParameterSource& source, const parallel::NameTable<ExpertPreset>& kinds,
                    const ExpertShape& shape, const MoeConfig& config);

  /// out[t] = sum over the token's choices of weight * expert(token). [T, D] -> [T, D]; of whole sequences, where
  /// those are routed, [R, X] -> [R, X] (SequenceRows).
  /// Collective over Mesh::experts().
  at::Tensor forward(const at::Tensor& tokens_TD, const parallel::Assignment& assignment) const;
  /// For those who watch (ExpertCompute::hidden): of each expert, and of rows sorted by expert. @pre all are here,
  /// whole
  const std::vector<int64_t>& hidden_units() const { return hidden_units_; }
  at::Tensor hidden(const at::Tensor& rows_RD, const std::vector<int64_t>& rows_per_expert) const;
  std::vector<ExpertCall> calls(int64_t places) const override;

 private:
  parallel::ExpertGroup group_;
  int64_t width_;  // of a token
  bool of_sequences_;
  std::vector<at::Tensor> weights_;
  std::vector<int64_t> hidden_units_;
  std::shared_ptr<const parallel::ExpertCompute> compute_;
  ExpertCosts costs_;  // the mean of this rank's experts
};

}  // namespace moetrain
