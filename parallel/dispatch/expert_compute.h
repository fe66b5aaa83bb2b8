// What experts compute, as dispatch knows it.
// defines: RowTensors, ExpertCompute, TokenRows, WeightedGradients, GatheringCompute
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "parallel/dispatch/rows_per_expert.h"

namespace parallel {

/// Tensors whose row n belongs to row n of those they were made from: any range of rows can be cut out of them.
using RowTensors = std::vector<at::Tensor>;

class GatheringCompute;

/// What an expert kind computes on rows sorted by expert, raw (outside autograd), with this rank's experts and its part
/// of their hidden units: outputs and row gradients are summands of those of all ranks that share an expert.
///
/// rows_RD: rows_per_expert of each expert in turn; any of them may have none, and rows may follow that are nobody's,
/// of whose outputs nothing is asked. Outputs are as wide as rows,
/// but where expert_map or expert_reduce calls. Forward and the gradients of rows may be computed a range of rows at a
/// time, and not the same ranges; the gradients of weights are computed once for each expert, with all its rows.
class ExpertCompute {
 public:
  using Counts = RowsPerExpert;
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
  /// The same where nothing follows: nothing is kept.
  virtual at::Tensor evaluate(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights) const;
  /// The gradient of the rows. `kept`: [R, width] each, to be written; `saved` may be written over, for
  /// backward_weights.
  virtual at::Tensor backward_rows(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_out_RD,
                                   const Counts& rows_per_expert, const Weights& weights,
                                   const RowTensors& kept) const = 0;
  /// Whether backward_weights writes gradients of the type in which they are summed too (GradientWidth), on the
  /// processor.
  virtual bool writes_summed_gradients() const { return false; }
  /// Writes the gradients of the weights of all experts that rows_per_expert counts; `weights` and `gradients`: theirs,
  /// a range of experts of each weight. Zero for an expert without rows.
  virtual void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_out_RD,
                                const RowTensors& kept, const Counts& rows_per_expert, const Weights& weights,
                                const Weights& gradients) const = 0;

  /// For those who watch: how many hidden units its last multiplication takes, 0 where it has none to show, and those
  /// of such rows, [R, hidden_units].
  virtual int64_t hidden_units(const Weights&) const { return 0; }
  virtual at::Tensor hidden(const at::Tensor& rows_RD, const Counts& rows_per_expert, const Weights& weights) const;

  /// The same experts where no row has to travel, for those that can. Null: for them there are rows there too.
  virtual const GatheringCompute* gathering() const { return nullptr; }
};

/// Rows sorted by expert that nobody has gathered yet.
struct TokenRows {
  at::Tensor tokens_TD;           // contiguous
  at::Tensor token_R;             // int64, the token that row r is a copy of
  RowsPerExpert rows_per_expert;  // of all R rows: none is nobody's
};

/// Of sums of rows' outputs, each times its weight.
struct WeightedGradients {
  at::Tensor sum_TD;         // of the sums; contiguous
  at::Tensor weight_R;       // of each row
  at::Tensor grad_weight_R;  // to be written: of the weights
};

/// A kind that gathers rows by itself from tokens that are all at hand, some at a time, so that none of a row's copy,
/// its output and its output's gradient has to be there for all rows. The gradient of a row's output is its token's
/// times the row's weight, and that of the weight is <output, the token's gradient>, for which no output has to be kept
/// either: <x W, g> = <x, g W^T>.
///
/// Raw (outside autograd), on the processor, in types for which it has loops (has_loops). Weights are those of
/// ExpertCompute, of all experts. Nothing of a row depends on another one.
class GatheringCompute {
 public:
  using Weights = std::vector<at::Tensor>;
  virtual ~GatheringCompute() = default;

  /// The widths of what forward keeps of a row.
  virtual std::vector<int64_t> gathered_widths(const Weights& weights) const = 0;
  /// [R, D], each row's output. `saved`: [R, width] each, to be written; empty: nothing is kept.
  virtual at::Tensor forward_gathered(const TokenRows& rows, const Weights& weights, const RowTensors& saved) const = 0;
  /// [R, D], the gradient of each row's copy of its token. `saved` is written over. `gradients`: of the weights, to be
  /// written, zero for an expert without rows; empty: nobody asks for them.
  virtual at::Tensor backward_gathered(const TokenRows& rows, const RowTensors& saved, const WeightedGradients& above,
                                       const Weights& weights, const Weights& gradients) const = 0;
};

}  // namespace parallel
