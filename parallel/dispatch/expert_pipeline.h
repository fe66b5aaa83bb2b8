// dispatch -> experts -> combine as the one differentiable unit of an MoE layer.
// defines: RowTensors, ExpertCompute, expert_pipeline, expert_map, expert_reduce
#pragma once
#include <memory>
#include <vector>

#include "parallel/dispatch/expert_exchange.h"

namespace parallel {

/// Tensors whose row n belongs to row n of those they were made from: any range of rows can be cut out of them.
using RowTensors = std::vector<at::Tensor>;

/// What an expert kind computes on rows sorted by expert, raw (outside autograd), with this rank's experts and its part
/// of their hidden units: outputs and row gradients are summands of those of all ranks that share an expert.
///
/// rows_RD: rows_per_expert[e] rows for each expert e in turn; any of them may be zero. Outputs are as wide as rows,
/// but where expert_map or expert_reduce calls. Forward and the gradients of rows may be computed a range of rows at a
/// time, and not the same ranges; the gradients of weights are computed once for each expert, with all its rows.
class ExpertCompute {
 public:
  using Counts = std::vector<int64_t>;
  using Weights = std::vector<at::Tensor>;
  virtual ~ExpertCompute() = default;

  /// The widths of what forward keeps of rows of `row_width` numbers, and of what backward_rows keeps for
  /// backward_weights.
  virtual std::vector<int64_t> saved_widths(int64_t row_width, const Weights& weights) const = 0;
  virtual std::vector<int64_t> kept_widths(int64_t row_width, const Weights& weights) const = 0;
  /// Of all this rank's experts a range, of each weight (or of its gradient) what belongs to them.
  virtual Weights of_experts(const Weights& weights, int64_t first, int64_t count) const;

  /// `saved`: [R, width] each, to be written.
  virtual at::Tensor forward(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights,
                             const RowTensors& saved) const = 0;
  /// The gradient of the rows. `kept`: [R, width] each, to be written; `saved` may be written over, for
  /// backward_weights.
  virtual at::Tensor backward_rows(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_out_RD,
                                   const Counts& rows_per_expert, const Weights& weights,
                                   const RowTensors& kept) const = 0;
  /// Writes the gradients of the weights of all experts that rows_per_expert counts; `weights` and `gradients`: theirs,
  /// a range of experts of each weight. Zero for an expert without rows.
  virtual void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_out_RD,
                                const RowTensors& kept, const Counts& rows_per_expert, const Weights& weights,
                                const Weights& gradients) const = 0;

  /// For those who watch: how many hidden units its last multiplication takes, 0 where it has none to show, and those
  /// of such rows, [R, hidden_units].
  virtual int64_t hidden_units(const Weights&) const { return 0; }
  virtual at::Tensor hidden(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights) const;
};

/// out[t] = sum over j of weight[t, j] * expert(tokens[t], expert[t, j]).
/// Differentiable in tokens_TD, assignment.weight_TK and `weights`; the expert numbers are constants.
/// `weights`: of this rank's experts in `group`. Forward and backward are collective over Mesh::experts(): every rank's
/// loss must depend on its output (if only with a factor 0).
///
/// Follows Mesh::schedule(): forward and backward each cut the rows into their own number of chunks; while one is
/// computed the next ones are on their way, and in backward the planned slices of other gradients after the last.
/// Results do not depend on the chunks but for rounding, the weights' gradients not even for that.
///
/// The rows of a pass after the first (ExpertExchange) are not kept on the rank that computes them: backward sends them
/// and computes them again, so that what a rank holds for them is bounded whatever the routing.
at::Tensor expert_pipeline(const at::Tensor& tokens_TD, const Assignment& assignment,
                           std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                           const ExpertGroup& group);

/// The two halves of a layer whose experts do something between them that needs other tokens: out[t, j] =
/// expert(tokens[t], expert[t, j]), [T, D] -> [T, K, A], zeros of a dropped choice; weights of choices mean nothing to
/// it. And out[t] = sum over j of weight[t, j] * expert(choices[t, j], expert[t, j]), [T, K, A] -> [T, D]. All else is
/// as of expert_pipeline; rows of one width go in, of another come out.
at::Tensor expert_map(const at::Tensor& tokens_TD, const Assignment& assignment,
                      std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                      const ExpertGroup& group);
at::Tensor expert_reduce(const at::Tensor& choices_TKA, const Assignment& assignment,
                         std::shared_ptr<const ExpertCompute> compute, const std::vector<at::Tensor>& weights,
                         const ExpertGroup& group);

}  // namespace parallel
