// defines: TokenParts: tokens in contiguous parts over a group of ranks, gathered and summed with gradients
#pragma once
#include <ATen/core/Tensor.h>

#include "parallel/comm/communicator.h"

namespace parallel {

/// G tokens of a group, T of them on this rank: contiguous parts in the order of ranks, as even as can be, any of them
/// empty. The same on every rank of the group, which outlives whatever is made with this, graphs too.
///
/// gather and sum are each other's gradient: right where the loss is the sum of the ranks' shares, what is gathered is
/// used on every rank and what is summed is a summand on every rank. They are collective in forward and in backward;
/// where a tensor needs a gradient on any rank it must on all, and every rank's share must depend on the result (if
/// only through a tensor of no elements). A group without tokens, and a group of one, exchange nothing.
class TokenParts {
 public:
  /// All on this rank, however many.
  TokenParts() = default;
  TokenParts(Communicator& group, int64_t tokens);

  /// Other things that the same ranks share, likewise.
  TokenParts of(int64_t things) const;

  int64_t ranks() const { return group_ != nullptr ? group_->size() : 1; }
  int64_t first() const { return first_; }  // this rank's first token within the group's

  /// [G, ...] -> this rank's [T, ...], a view
  at::Tensor own(const at::Tensor& whole) const;
  /// [T, D] -> [G, D]
  at::Tensor gather(const at::Tensor& part_TD) const;
  /// [G, D], a summand of each rank -> this rank's rows of their sum [T, D], summed in at least float32.
  at::Tensor sum(const at::Tensor& whole_GD) const;

 private:
  bool alone() const { return group_ == nullptr || tokens_ == 0; }

  Communicator* group_ = nullptr;  // null: nobody else
  int64_t tokens_ = 0, first_ = 0;
  RowCounts rows_;
};

}  // namespace parallel
