// defines: DispatchedExperts: the routed experts of a layer, to whose ranks rows travel
#pragma once
#include <torch/nn/module.h>

#include <memory>

#include "moetrain/experts/expert.h"
#include "moetrain/layers/parameter_source.h"

namespace moetrain {

/// E experts of one kind and width or of several. Parameters: the weights of each, [its experts, dims...], and of
/// adapters (Adapters) "NAME_lora_a" and "NAME_lora_b" of matrix NAME; of them this rank's experts in the source's mesh
/// (perhaps none of a kind), and its part of their hidden units.
class DispatchedExperts : public torch::nn::Module {
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
  /// Of all experts, on all ranks.
  int64_t parameters_of_all() const { return parameters_; }

  /// For a profile: what forward passes to expert_pipeline, the width of its rows, and what this rank's part costs.
  const parallel::ExpertGroup& group() const { return group_; }
  const std::vector<at::Tensor>& weights() const { return weights_; }
  const parallel::ExpertCompute& compute() const { return *compute_; }
  /// Of a row; `places`: of the longest sequence, where rows are sequences.
  int64_t row_width(int64_t places) const;
  bool of_sequences() const { return of_sequences_; }
  const ExpertCosts& costs() const { return costs_; }  // the mean of this rank's experts

 private:
  /// The experts of one range have it under its name.
  void add_weight(const ParameterSource& source, const ExpertRange& range, const ExpertWeight& weight);
  /// Where the weight is a matrix and has one: whether it has.
  bool add_adapter(const ParameterSource& source, const ExpertRange& range, const ExpertWeight& weight);
  /// Of a range's experts those that this rank has.
  parallel::DimPart own_experts(const ExpertRange& range) const;

  parallel::ExpertGroup group_;
  int64_t width_;  // of a token
  bool of_sequences_;
  int64_t parameters_ = 0;
  std::vector<at::Tensor> weights_;
  std::vector<int64_t> hidden_units_;
  std::shared_ptr<const parallel::ExpertCompute> compute_;
  ExpertCosts costs_;
};

}  // namespace moetrain
