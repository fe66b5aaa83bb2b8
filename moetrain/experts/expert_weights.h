// defines: ExpertWeights, ExpertCall: the weights of routed experts, of which each rank has some
#pragma once
#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "moetrain/experts/expert.h"
#include "moetrain/layers/parameter_source.h"
#include "parallel/dispatch/expert_exchange.h"

namespace moetrain {

/// One way of a layer's rows to its experts and back, as a profile asks of it.
struct ExpertCall {
  parallel::ExpertGroup group;
  std::vector<at::Tensor> weights;
  std::shared_ptr<const parallel::ExpertCompute> compute;
  int64_t row_width = 0, out_width = 0;
  ExpertCosts costs;  // of a row, the mean of this rank's experts
};

/// The weights of a layer's routed experts, [its experts, dims...] of each kind and width, and of adapters (Adapters)
/// "NAME_lora_a" and "NAME_lora_b" of matrix NAME; of them this rank's experts in the source's mesh (perhaps none of a
/// kind), and its part of their hidden units.
class ExpertWeights : public torch::nn::Module {
 public:
  /// Of all experts, on all ranks.
  int64_t parameters_of_all() const { return parameters_; }
  /// In the order of forward. `places`: of a row, where rows are whole sequences.
  virtual std::vector<ExpertCall> calls(int64_t places) const = 0;

 protected:
  ExpertWeights(const ParameterSource& source, const MoeConfig& config);

  /// What computes with some weights of the experts of one range, and those weights behind others'.
  struct Computing {
    std::shared_ptr<const parallel::ExpertCompute> compute;
    size_t weights = 0;  // how many, adapters' too
  };
  /// Registers `weights`, under their names with the range's suffix, and their adapters; adds this rank's to `to`.
  /// UserError where they cannot be laid out.
  Computing add(const ParameterSource& source, const ExpertRange& range, const std::vector<ExpertWeight>& weights,
                std::shared_ptr<const parallel::ExpertCompute> compute, std::vector<at::Tensor>& to);
  /// The next number of Mesh::schedule().
  parallel::ExpertGroup new_group() const;
  /// Of this rank.
  ExpertSpan own_span() const;

 private:
  at::Tensor add_weight(const ParameterSource& source, const ExpertRange& range, const ExpertWeight& weight);
  /// Where the weight is a matrix and has one: whether it has.
  bool add_adapter(const ParameterSource& source, const ExpertRange& range, const ExpertWeight& weight,
                   std::vector<at::Tensor>& to);
  /// Of a range's experts those that this rank has.
  parallel::DimPart own_experts(const ExpertRange& range) const;

  std::shared_ptr<const parallel::Mesh> mesh_;
  parallel::ExpertMap map_;
  int64_t parameters_ = 0;
};

}  // namespace moetrain
