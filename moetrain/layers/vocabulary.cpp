#include "moetrain/layers/vocabulary.h"

#include <ATen/ATen.h>

#include <utility>

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
