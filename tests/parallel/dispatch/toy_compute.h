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
  std::vector<int64_t> saved_widths(int64_t, const Weights& weights) const override { return {weights[0].size(2)}; }
  std::vector<int64_t> kept_widths(int64_t, const Weights& weights) const override { return {weights[0].size(2)}; }

  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    std::vector<at::Tensor> out{rows_RD.narrow(0, 0, 0)};
    each(counts, [&](int64_t e, int64_t begin, int64_t count) {
      at::Tensor hidden = saved[0].narrow(0, begin, count);
      hidden.copy_(at::tanh(at::mm(rows_RD.narrow(0, begin, count), weights[0][e])));
      out.push_back(at::mm(hidden, weights[1][e]));
    });
    kept = c10::weak_intrusive_ptr<c10::StorageImpl>(
        c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(saved[0].storage().unsafeGetStorageImpl()));
    return at::cat(out);
  }

  at::Tensor backward_rows(const at::Tensor&, const RowTensors& saved, const at::Tensor& grad_RD, const Counts& counts,
                           const Weights& weights, const RowTensors& grads_in) const override {
    std::vector<at::Tensor> grad_rows{grad_RD.narrow(0, 0, 0)};
    each(counts, [&](int64_t e, int64_t begin, int64_t count) {
      const at::Tensor hidden = saved[0].narrow(0, begin, count);
      at::Tensor grad_in = grads_in[0].narrow(0, begin, count);
      grad_in.copy_(at::mm(grad_RD.narrow(0, begin, count), weights[1][e].t()) * (1 - hidden * hidden));
      grad_rows.push_back(at::mm(grad_in, weights[0][e].t()));
    });
    return at::cat(grad_rows);
  }

  void backward_weights(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                        const RowTensors& grads_in, const Counts& counts, const Weights&,
                        const Weights& gradients) const override {
    each(counts, [&](int64_t e, int64_t begin, int64_t count) {
      gradients[0][e].copy_(at::mm(rows_RD.narrow(0, begin, count).t(), grads_in[0].narrow(0, begin, count)));
      gradients[1][e].copy_(at::mm(saved[0].narrow(0, begin, count).t(), grad_RD.narrow(0, begin, count)));
    });
  }

  mutable c10::weak_intrusive_ptr<c10::StorageImpl> kept{c10::intrusive_ptr<c10::StorageImpl>()};

 private:
  template <class Action>
  static void each(const Counts& counts, Action&& action) {
    int64_t begin = 0, e = 0;
    for (const int64_t count : counts.on_host()) {
      action(e++, begin, count);
      begin += count;
    }
  }
};

/// All experts on this rank.
inline ExpertGroup one_rank(int64_t experts) { return {std::make_shared<const Mesh>(), {{experts}}}; }

}  // namespace parallel
