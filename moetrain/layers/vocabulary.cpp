#include "moetrain/layers/vocabulary.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>

#include <utility>

#include "moetrain/fused/softmax.h"
#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"

namespace moetrain {

Vocabulary::Vocabulary(int64_t size, std::shared_ptr<const parallel::Mesh> mesh)
    : size_(size), first_(0), count_(size) {
  if (mesh == nullptr || mesh->shape().tensor == 1) return;
  const int64_t ranks = mesh->shape().tensor;
  if (ranks > size) {
    parallel::user_error("mesh.tensor = ", ranks, " ranks for a vocabulary of ", size, " tokens; legal: at most ",
                         size);
  }
  const auto [first, count] = parallel::even_part(size, mesh->place().tensor, ranks);
  first_ = first;
  count_ = count;
  mesh_ = std::move(mesh);
}

parallel::TokenParts Vocabulary::parts(int64_t tokens) const {
  return mesh_ != nullptr ? parallel::TokenParts(mesh_->tensor(), tokens) : parallel::TokenParts();
}

at::Tensor Vocabulary::embed(const at::Tensor& ids_G, const at::Tensor& weight_WD) const {
  if (mesh_ == nullptr) return at::embedding(weight_WD, ids_G);
  return at::embedding(weight_WD, column(ids_G)).masked_fill(elsewhere(ids_G).unsqueeze(1), 0);
}

at::Tensor Vocabulary::column(const at::Tensor& ids) const {
  return mesh_ == nullptr ? ids : (ids - first_).masked_fill_(elsewhere(ids), 0);
}

at::Tensor Vocabulary::elsewhere(const at::Tensor& ids) const {
  return mesh_ == nullptr ? at::Tensor() : (ids < first_).logical_or_(ids >= first_ + count_);
}

Vocabulary::CrossEntropy Vocabulary::cross_entropy_(at::Tensor& logits_CW, const at::Tensor& column_C1,
                                                    const at::Tensor& elsewhere_C1, double smoothing,
                                                    bool gradient) const {
  at::Tensor picked_C1 = logits_CW.gather(1, column_C1).to(at::toOpMathType(logits_CW.scalar_type()));
  at::Tensor wanted_C1 = column_C1;
  if (mesh_ != nullptr) {
    picked_C1 = total(picked_C1.masked_fill(elsewhere_C1, 0));
    wanted_C1 = column_C1.masked_fill(elsewhere_C1, -1);
  }
  const SoftmaxWanted wanted{.column_C = wanted_C1.squeeze(1).contiguous(),
                             .here = 1 - smoothing,
                             .each = smoothing / static_cast<double>(size_)};
  SoftmaxRows rows;
  if (mesh_ == nullptr && gradient) {
    rows = softmax_gradient_(logits_CW, wanted);
  } else {
    rows.largest_C = largest_of_rows(logits_CW);
    if (mesh_ != nullptr) mesh_->tensor().all_reduce(rows.largest_C, parallel::ReduceOp::kMax).wait();
    exponentials_of_rows_(logits_CW, rows);
    rows.exponentials_C = total(rows.exponentials_C);
    if (smoothing > 0) rows.sum_C = total(rows.sum_C);
    if (gradient) gradient_of_rows_(logits_CW, wanted, rows);
  }
  const at::Tensor log_sum_C = rows.exponentials_C.log().add_(rows.largest_C), picked_C = picked_C1.squeeze(1);
  return {.nll_C = log_sum_C - picked_C,
          .mean_log_p_C = smoothing > 0 ? rows.sum_C / static_cast<double>(size_) - log_sum_C : at::Tensor(),
          .correct_C = picked_C >= rows.largest_C};
}

at::Tensor Vocabulary::log_softmax(const at::Tensor& logits_CW) const {
  if (mesh_ == nullptr) return at::log_softmax(logits_CW, 1);
  const at::Tensor shifted_CW = logits_CW - largest(logits_CW);
  return shifted_CW - sum(shifted_CW.exp()).log_();
}

at::Tensor Vocabulary::sum(const at::Tensor& terms_CW) const {
  at::Tensor sum_C1 = terms_CW.sum(1, /*keepdim=*/true);
  if (mesh_ != nullptr) mesh_->tensor().all_reduce(sum_C1, parallel::ReduceOp::kSum).wait();
  return sum_C1;
}

at::Tensor Vocabulary::largest(const at::Tensor& terms_CW) const {
  at::Tensor largest_C1 = terms_CW.amax(1, /*keepdim=*/true);
  if (mesh_ != nullptr) mesh_->tensor().all_reduce(largest_C1, parallel::ReduceOp::kMax).wait();
  return largest_C1;
}

at::Tensor Vocabulary::total(const at::Tensor& own) const {
  if (mesh_ == nullptr) return own;
  at::Tensor sum = own.contiguous().clone();
  mesh_->tensor().all_reduce(sum, parallel::ReduceOp::kSum).wait();
  return sum;
}

}  // namespace moetrain
