#include "parallel/mesh/matrix_parts.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"

namespace parallel {

MatrixParts::MatrixParts(const Placement& placement, std::shared_ptr<const Mesh> mesh)
    : mesh_(std::move(mesh)), replicas_(placement.replicas) {
  const std::vector<int64_t>&whole = placement.global_shape, &own = placement.local_shape;
  check_internal(whole.size() >= 2, "a tensor of ", whole.size(), " dimensions holds no matrices");
  rows_ = whole[whole.size() - 2], columns_ = whole.back();
  own_rows_ = own[own.size() - 2], own_columns_ = own.back();
  check_internal(own_rows_ == rows_ || own_columns_ == columns_, "matrices cut in rows and in columns");
  const bool by_columns = own_columns_ != columns_;
  if (!by_columns && own_rows_ == rows_) return;  // other ranks may hold other matrices, not other parts
  // Whoever spreads a tensor over an axis gives its ranks parts as even as can be (ParameterSource, FfnExperts).
  const AxisRow& axis = row_of(row_of(replicas_).cut.value());
  const int64_t ranks = axis.ranks(mesh_->shape()), rank = mesh_->place().*axis.place;
  const int64_t all = by_columns ? columns_ : rows_;
  for (int64_t r = 0; r < ranks; ++r) cut_.push_back(even_part(all, r, ranks).count);
  begin_ = even_part(all, rank, ranks).begin;
  check_internal(cut_[static_cast<size_t>(rank)] == (by_columns ? own_columns_ : own_rows_),
                 "matrices in parts that are not even");
}

MatrixParts::Gathering MatrixParts::gather(const at::Tensor& part) const {
  Gathering gathering;
  gathering.parts_ = part.reshape({-1, own_rows_, own_columns_});
  const int64_t count = gathering.parts_.size(0);
  if (cut_.empty() || count == 0) {
    if (count == 0) gathering.parts_ = at::empty({0, rows_, columns_}, part.options());
    return gathering;
  }
  gathering.columns_ = own_columns_ != columns_;
  gathering.parts_ = gathering.parts_.movedim(gathering.columns_ ? 2 : 1, 0).contiguous();
  gathering.gathered_ = gathering.columns_ ? at::empty({columns_, count, rows_}, part.options())
                                           : at::empty({rows_, count, columns_}, part.options());
  Communicator& group = mesh_->group(row_of(replicas_).cut.value());
  gathering.work_ = group.all_gather_rows(gathering.gathered_, gathering.parts_, cut_);
  return gathering;
}

at::Tensor MatrixParts::Gathering::wait() {
  if (!gathered_.defined()) return std::exchange(parts_, at::Tensor());
  work_.wait();
  parts_ = at::Tensor();
  return std::exchange(gathered_, at::Tensor()).movedim(0, columns_ ? 2 : 1).contiguous();
}

at::Tensor MatrixParts::own(const at::Tensor& whole_NRC) const {
  if (cut_.empty()) return whole_NRC;
  const bool by_columns = own_columns_ != columns_;
  return whole_NRC.narrow(by_columns ? 2 : 1, begin_, by_columns ? own_columns_ : own_rows_);
}

}  // namespace parallel
