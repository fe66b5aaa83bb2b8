// defines: LinearExperts: each expert a matrix
#pragma once
#include "parallel/dispatch/expert_compute.h"

namespace moetrain {

/// out = row W, of experts of which this rank has all of the input and some columns of the output, or the reverse.
class LinearExperts : public parallel::ExpertCompute {
 public:
  /// Of `whole` numbers of one end of the matrix this rank's, from `first` on: as many as the weight has there.
  struct Part {
    enum class End { kIn, kOut } end = End::kOut;
    int64_t first = 0, whole = 0;
  };
  explicit LinearExperts(const Part& part) : part_(part) {}

  std::vector<int64_t> saved_widths(int64_t, const Weights&) const override { return {}; }
  std::vector<int64_t> kept_widths(int64_t, const Weights&) const override { return {}; }
  at::Tensor forward(const at::Tensor& rows_RM, const Counts& counts, const Weights& weights,
                     const parallel::RowTensors& saved) const override;
  at::Tensor backward_rows(const at::Tensor& rows_RM, const parallel::RowTensors& saved, const at::Tensor& grad_RN,
                           const Counts& counts, const Weights& weights,
                           const parallel::RowTensors& kept) const override;
  bool writes_summed_gradients() const override;
  void backward_weights(const at::Tensor& rows_RM, const parallel::RowTensors& saved, const at::Tensor& grad_RN,
                        const parallel::RowTensors& kept, const Counts& counts, const Weights& weights,
                        const Weights& gradients) const override;

 private:
  /// Numbers of that end: of all those that this rank has, and back, zeros for the others.
  at::Tensor own(const at::Tensor& rows, Part::End end, const Weights& weights) const;
  at::Tensor all(const at::Tensor& rows, Part::End end) const;

  Part part_;
};

}  // namespace moetrain
