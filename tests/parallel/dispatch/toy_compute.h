// defines: ToyCompute, one_rank: an expert of two layers for tests of the pipeline
#pragma once
#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "parallel/dispatch/expert_pipeline.h"

namespace parallel {

/// Expert e: tanh(rows in[e]) out[e]. Counts what it keeps for backward.
class ToyCompute : public ExpertCompute {
 public:
  Output forward(const at::Tensor& rows_RD, const std::vector<int64_t>& counts,
                 const std::vector<at::Tensor>& weights) const override {
    std::vector<at::Tensor> hidden{rows_RD.new_empty({0, weights[0].size(2)})}, out{rows_RD.narrow(0, 0, 0)};
    each(counts, [&](int64_t e, int64_t begin, int64_t count) {
      hidden.push_back(at::tanh(at::mm(rows_RD.narrow(0, begin, count), weights[0][e])));
      out.push_back(at::mm(hidden.back(), weights[1][e]));
    });
    const at::Tensor hidden_RF = at::cat(hidden), out_RD = at::cat(out);
    kept = c10::weak_intrusive_ptr<c10::TensorImpl>(hidden_RF.getIntrusivePtr());
    return {out_RD, {{rows_RD, hidden_RF}}};
  }

  Gradients backward(const Saved& saved, const at::Tensor& grad_RD, const std::vector<int64_t>& counts,
                     const std::vector<at::Tensor>& weights) const override {
    std::vector<at::Tensor> grad_rows{grad_RD.narrow(0, 0, 0)};
    Gradients result{{}, {at::zeros_like(weights[0]), at::zeros_like(weights[1])}};
    each(counts, [&](int64_t e, int64_t begin, int64_t count) {
      const at::Tensor rows = saved.tensors[0].narrow(0, begin, count),
                       hidden = saved.tensors[1].narrow(0, begin, count);
      const at::Tensor grad = grad_RD.narrow(0, begin, count);
      const at::Tensor grad_in = at::mm(grad, weights[1][e].t()) * (1 - hidden * hidden);
      result.weights[1][e].copy_(at::mm(hidden.t(), grad));
      result.weights[0][e].copy_(at::mm(rows.t(), grad_in));
      grad_rows.push_back(at::mm(grad_in, weights[0][e].t()));
    });
    result.rows_RD = at::cat(grad_rows);
    return result;
  }

  mutable c10::weak_intrusive_ptr<c10::TensorImpl> kept{c10::intrusive_ptr<c10::TensorImpl>()};

 private:
  template <class Action>
  static void each(const std::vector<int64_t>& counts, Action&& action) {
    int64_t begin = 0;
    for (size_t e = 0; e < counts.size(); ++e) {
      action(static_cast<int64_t>(e), begin, counts[e]);
      begin += counts[e];
    }
  }
};

/// All experts on this rank.
inline ExpertGroup one_rank(int64_t experts) { return {std::make_shared<const Mesh>(), {{experts}}}; }

}  // namespace parallel
