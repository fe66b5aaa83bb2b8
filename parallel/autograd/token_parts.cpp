#include "parallel/autograd/token_parts.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <numeric>
#include <utility>
#include <vector>

#include "parallel/base/even_part.h"
#include "parallel/base/fault.h"
#include "parallel/comm/summable.h"

namespace parallel {
namespace {

std::vector<int64_t> with_rows(const at::Tensor& tensor, int64_t rows) {
  std::vector<int64_t> sizes = tensor.sizes().vec();
  sizes[0] = rows;
  return sizes;
}

at::Tensor gathered(const at::Tensor& part_TD, Communicator& group, const RowCounts& rows) {
  const at::NoGradGuard no_gradient;
  const at::Tensor part = part_TD.detach().contiguous();
  at::Tensor whole = at::empty(with_rows(part, std::accumulate(rows.begin(), rows.end(), int64_t{0})), part.options());
  group.all_gather_rows(whole, part, rows).wait();
  return whole;
}

at::Tensor summed(const at::Tensor& whole_GD, Communicator& group, const RowCounts& rows) {
  const at::NoGradGuard no_gradient;
  const at::Tensor whole = to_summable(whole_GD.detach());
  at::Tensor part = at::empty(with_rows(whole, rows[static_cast<size_t>(group.rank())]), whole.options());
  group.reduce_scatter_rows(part, whole, rows).wait();
  return part.to(whole_GD.scalar_type());
}

using Exchange = at::Tensor (*)(const at::Tensor& rows_ND, Communicator& group, const RowCounts& rows);

/// Of its own, because autograd::Function saves tensors and numbers, and no communicator.
class ExchangeNode : public torch::autograd::Node {
 public:
  ExchangeNode(Exchange back, Communicator& group, RowCounts rows)
      : back_(back), group_(group), rows_(std::move(rows)) {}
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    check_internal(gradients[0].defined(), "TokenParts: no gradient came from above, and other ranks wait");
    return {back_(gradients[0], group_, rows_)};
  }
  std::string name() const override { return "TokenPartsBackward"; }

 private:
  Exchange back_;
  Communicator& group_;
  RowCounts rows_;
};

at::Tensor exchanged(Exchange forth, Exchange back, const at::Tensor& rows_ND, Communicator& group,
                     const RowCounts& rows) {
  at::Tensor result = forth(rows_ND, group, rows);
  if (!at::GradMode::is_enabled() || !rows_ND.requires_grad()) return result;
  const std::shared_ptr<ExchangeNode> node(new ExchangeNode(back, group, rows), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(rows_ND));
  torch::autograd::set_history(result, node);
  return result;
}

}  // namespace

TokenParts::TokenParts(Communicator& group, int64_t tokens) : tokens_(tokens) {
  if (group.size() == 1) return;
  group_ = &group;
  for (int64_t r = 0; r < group.size(); ++r) rows_.push_back(even_part(tokens, r, group.size()).count);
  first_ = even_part(tokens, group.rank(), group.size()).begin;
}

TokenParts TokenParts::of(int64_t things) const {
  return group_ != nullptr ? TokenParts(*group_, things) : TokenParts();
}

at::Tensor TokenParts::own(const at::Tensor& whole) const {
  if (group_ == nullptr) return whole;
  check_internal(whole.size(0) == tokens_, "TokenParts: ", whole.size(0), " rows of ", tokens_, " tokens");
  return whole.narrow(0, first_, rows_[static_cast<size_t>(group_->rank())]);
}

at::Tensor TokenParts::gather(const at::Tensor& part_TD) const {
  return alone() ? part_TD : exchanged(&gathered, &summed, part_TD, *group_, rows_);
}

at::Tensor TokenParts::sum(const at::Tensor& whole_GD) const {
  return alone() ? whole_GD : exchanged(&summed, &gathered, whole_GD, *group_, rows_);
}

}  // namespace parallel
