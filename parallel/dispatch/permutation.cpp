#include "parallel/dispatch/permutation.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/base/fault.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/host_tensor.h"
#include "parallel/device/kernel_call.h"
#include "parallel/kernels/token_rows.h"

namespace parallel {
namespace {

/// Counting sort, the choices in order of t * K + j.
Permutation sort_on_host(const at::Tensor& expert_TK, int64_t num_experts) {
  const at::Tensor expert = expert_TK.contiguous();
  const int64_t* expert_of = expert.const_data_ptr<int64_t>();
  const int64_t choices = expert.numel(), top_k = expert.size(1);
  Permutation result;
  std::vector<int64_t> rows_E(static_cast<size_t>(num_experts), 0);
  for (int64_t slot = 0; slot < choices; ++slot) {
    if (expert_of[slot] == Assignment::kDropped) continue;
    check_internal(0 <= expert_of[slot] && expert_of[slot] < num_experts, "sort_by_expert: expert ", expert_of[slot],
                   " of ", num_experts, " for choice ", slot);
    ++rows_E[static_cast<size_t>(expert_of[slot])];
  }
  std::vector<int64_t> next(rows_E.size(), 0);
  int64_t rows = 0;
  for (size_t e = 0; e < next.size(); ++e) {
    next[e] = rows;
    rows += rows_E[e];
  }
  result.rows_per_expert = std::move(rows_E);
  result.token_R = at::empty({rows}, at::kLong);
  result.slot_R = at::empty({rows}, at::kLong);
  result.row_TK = at::empty_like(expert);
  int64_t* token_of_row = result.token_R.mutable_data_ptr<int64_t>();
  int64_t* slot_of_row = result.slot_R.mutable_data_ptr<int64_t>();
  int64_t* row_of_slot = result.row_TK.mutable_data_ptr<int64_t>();
  for (int64_t slot = 0; slot < choices; ++slot) {
    if (expert_of[slot] == Assignment::kDropped) {
      row_of_slot[slot] = rows;
      continue;
    }
    const int64_t row = next[static_cast<size_t>(expert_of[slot])]++;
    token_of_row[row] = slot / top_k;
    slot_of_row[row] = slot;
    row_of_slot[slot] = row;
  }
  return result;
}

/// Of a device, which sorts choices before its host knows how many rows each expert has: a row for each choice, those
/// of dropped ones last.
struct Sorted {
  Permutation all;
  at::Tensor end_E;  // int32, behind the last row of each expert
};

Sorted sort_by_kernel(const DeviceKernels& kernels, const at::Tensor& expert_TK, int64_t num_experts) {
  const at::Tensor expert = expert_TK.contiguous();
  const auto ints = expert.options().dtype(at::kInt);
  const int64_t choices = expert.numel();
  const at::Tensor scratch = at::empty({kernels.sorting_scratch(choices, num_experts)}, ints);
  Sorted sorted{
      {at::empty({choices}, expert.options()), at::empty({choices}, expert.options()), at::empty_like(expert), {}},
      at::empty({num_experts}, ints)};
  call(kernels.sort_choices,
       {.choices = choices,
        .top_k = expert.size(1),
        .experts = num_experts,
        .expert_N = expert.const_data_ptr<int64_t>(),
        .scratch = scratch.mutable_data_ptr<int32_t>(),
        .end_E = sorted.end_E.mutable_data_ptr<int32_t>(),
        .token_N = sorted.all.token_R.mutable_data_ptr<int64_t>(),
        .slot_N = sorted.all.slot_R.mutable_data_ptr<int64_t>(),
        .row_N = sorted.all.row_TK.mutable_data_ptr<int64_t>()},
       expert.device());
  return sorted;
}

/// The same by LibTorch.
Sorted sort_by_library(const at::Tensor& expert_TK, int64_t num_experts, bool may_drop) {
  const at::Tensor key = at::where(expert_TK == Assignment::kDropped, num_experts, expert_TK).flatten();
  const auto [sorted_N, order_N] = at::sort(key, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  // bincount would wait for the largest key.
  Sorted sorted{.all = {},
                .end_E = at::searchsorted(sorted_N, at::arange(num_experts, key.options()), /*out_int32=*/true,
                                          /*right=*/true)};
  at::Tensor place_N = at::arange(order_N.numel(), order_N.options());
  if (may_drop) place_N = at::minimum(place_N, sorted.end_E.select(0, -1));
  sorted.all.slot_R = order_N;
  sorted.all.token_R = at::floor_divide(order_N, expert_TK.size(1));
  sorted.all.row_TK = at::empty_like(order_N).scatter_(0, order_N, place_N).view_as(expert_TK);
  return sorted;
}

/// Without those behind.
Permutation first_rows(const Permutation& all, int64_t rows) {
  return {all.token_R.narrow(0, 0, rows), all.slot_R.narrow(0, 0, rows), all.row_TK, {}};
}

/// Choices without a row.
at::Tensor dropped_TK(const Permutation& permutation) { return permutation.row_TK == permutation.rows(); }

/// combine_rows by LibTorch, a choice of all tokens at a time.
at::Tensor combine_rows_by_choice(const at::Tensor& rows_RD, const at::Tensor& weight_TK,
                                  const Permutation& permutation) {
  const int64_t top_k = permutation.row_TK.size(1), rows = permutation.rows();
  if (rows == 0) return at::zeros({permutation.row_TK.size(0), rows_RD.size(1)}, rows_RD.options());
  const bool dropped = permutation.drops();
  const at::Tensor factor_TK =
      dropped && weight_TK.defined() ? weight_TK.masked_fill(dropped_TK(permutation), 0) : weight_TK;
  at::Tensor out_TD;
  for (int64_t j = 0; j < top_k; ++j) {
    const at::Tensor row_T = permutation.row_TK.select(1, j);
    at::Tensor part_TD = rows_RD.index_select(0, dropped ? row_T.clamp_max(rows - 1) : row_T);
    if (dropped) part_TD.masked_fill_((row_T == rows).unsqueeze(1), 0);  // whatever the row holds
    const at::Tensor factor_T1 = factor_TK.defined() ? factor_TK.narrow(1, j, 1) : at::Tensor();
    if (j == 0) {
      out_TD = factor_T1.defined() ? part_TD.mul_(factor_T1) : part_TD;
    } else if (factor_T1.defined()) {
      out_TD.addcmul_(part_TD, factor_T1);
    } else {
      out_TD.add_(part_TD);
    }
  }
  return out_TD;
}

}  // namespace

ChoiceOrder::ChoiceOrder(const at::Tensor& expert_TK, int64_t num_experts, std::optional<int64_t> kept)
    : expert_TK_(expert_TK), kept_(kept) {
  check_internal(expert_TK.dim() == 2 && expert_TK.scalar_type() == at::kLong, "sort_by_expert: choices of shape ",
                 expert_TK.sizes(), " and type ", expert_TK.scalar_type());
  if (!is_accelerator(expert_TK.device())) {
    sorted_ = sort_on_host(expert_TK, num_experts);
    return;
  }
  const DeviceKernels* kernels = kernels_of(expert_TK.device());
  const bool by_kernel = kernels != nullptr && num_experts <= kMostSorted;
  Sorted sorted = by_kernel ? sort_by_kernel(*kernels, expert_TK, num_experts)
                            : sort_by_library(expert_TK, num_experts, kept != expert_TK.numel());
  sorted_ = std::move(sorted.all);
  end_E_ = std::move(sorted.end_E);
}

std::vector<int64_t> ChoiceOrder::rows_per_expert() const {
  return end_E_.defined() ? RowsPerExpert(end_E_, expert_TK_.numel()).on_host() : sorted_.rows_per_expert.on_host();
}

at::Tensor ChoiceOrder::rows_E() const {
  if (!end_E_.defined()) return at::tensor(sorted_.rows_per_expert.on_host(), at::kLong);
  return at::diff(end_E_.to(at::kLong), 1, 0, at::zeros({1}, expert_TK_.options()));
}

Permutation ChoiceOrder::permutation(std::vector<int64_t> rows_per_expert) const {
  if (!end_E_.defined()) return sorted_;
  RowsPerExpert all(std::move(rows_per_expert));
  Permutation result = first_rows(sorted_, all.rows());
  result.rows_per_expert = std::move(all);
  return result;
}

Permutation ChoiceOrder::permutation() const {
  if (!end_E_.defined()) return sorted_;
  Permutation result = first_rows(sorted_, kept_.value_or(expert_TK_.numel()));
  result.rows_per_expert = {end_E_, result.rows()};
  if (!kept_) {
    result.row_TK = at::where(result.row_TK < end_E_.select(0, -1), result.row_TK, result.rows());
    result.has_idle_rows = true;
  }
  return result;
}

Permutation sort_by_expert(const at::Tensor& expert_TK, int64_t num_experts) {
  const ChoiceOrder order(expert_TK, num_experts);
  return order.permutation(order.rows_per_expert());
}

Permutation in_order(const Permutation& permutation, const at::Tensor& order_R) {
  if (!order_R.defined()) return permutation;
  Permutation result{permutation.token_R.index_select(0, order_R),
                     permutation.slot_R.index_select(0, order_R),
                     {},
                     permutation.rows_per_expert};
  result.row_TK = at::full_like(permutation.row_TK, permutation.rows());
  result.row_TK.view({-1}).index_copy_(0, result.slot_R, at::arange(permutation.rows(), order_R.options()));
  return result;
}

at::Tensor rows_at(const at::Tensor& rows_ND, const at::Tensor& index_R) {
  at::Tensor to_RD = at::empty({index_R.size(0), rows_ND.size(1)}, rows_ND.options());
  rows_at_out(to_RD, rows_ND, index_R);
  return to_RD;
}

void rows_at_out(const at::Tensor& to_RD, const at::Tensor& rows_ND, const at::Tensor& index_R) {
  const at::Tensor from = rows_ND.contiguous(), index = index_R.contiguous();
  const int64_t rows = index.size(0), width = from.size(1);
  check_internal(to_RD.is_contiguous() && to_RD.size(0) == rows && to_RD.size(1) == width &&
                     to_RD.scalar_type() == from.scalar_type(),
                 "rows_at: ", rows, " rows of ", width, " ", from.scalar_type(), " into ", to_RD.sizes(), " ",
                 to_RD.scalar_type());
  if (const DeviceKernels* kernels = kernels_of(rows_ND)) {
    check_internal(index_R.device() == rows_ND.device(), "rows_at: places on ", index_R.device(), ", rows on ",
                   rows_ND.device());
    call(kernels->copy_rows,
         {.element = element_of(from),
          .rows = rows,
          .width = width,
          .from = from.const_data_ptr(),
          .index_R = index.const_data_ptr<int64_t>(),
          .rows_RD = to_RD.mutable_data_ptr()},
         from.device());
    return;
  }
  if (!has_loops(from)) {
    at::Tensor to = to_RD;
    at::index_select_out(to, from, 0, index);
    return;
  }
  with_loops(from.scalar_type(), [&]<class Scalar>() {
    copy_rows(data_of<Scalar>(from), index.const_data_ptr<int64_t>(), rows, width, mutable_data_of<Scalar>(to_RD));
  });
}

at::Tensor gather_rows(const at::Tensor& tokens_TD, const Permutation& permutation) {
  return rows_at(tokens_TD, permutation.token_R);
}

at::Tensor combine_rows(const at::Tensor& rows_RD, const at::Tensor& weight_TK, const Permutation& permutation) {
  const DeviceKernels* kernels = kernels_of(rows_RD);
  if (kernels == nullptr && !has_loops(rows_RD)) return combine_rows_by_choice(rows_RD, weight_TK, permutation);
  const at::Tensor rows = rows_RD.contiguous(), row_TK = permutation.row_TK.contiguous();
  const at::Tensor weight = weight_TK.defined() ? weight_TK.to(rows.scalar_type()).contiguous() : at::Tensor();
  at::Tensor out_TD = at::empty({row_TK.size(0), rows.size(1)}, rows.options());
  if (kernels != nullptr) {
    call(kernels->add_weighted_rows,
         {.element = element_of(rows),
          .tokens = row_TK.size(0),
          .choices = row_TK.size(1),
          .rows = rows.size(0),
          .width = rows.size(1),
          .rows_RD = rows.const_data_ptr(),
          .row_TK = row_TK.const_data_ptr<int64_t>(),
          .weight_TK = weight.defined() ? weight.const_data_ptr() : nullptr,
          .out_TD = out_TD.mutable_data_ptr()},
         rows.device());
    return out_TD;
  }
  with_loops(rows.scalar_type(), [&]<class Scalar>() {
    const WeightedRows<Scalar> all{.rows_RD = data_of<Scalar>(rows),
                                   .row_TK = row_TK.const_data_ptr<int64_t>(),
                                   .weight_TK = weight.defined() ? data_of<Scalar>(weight) : nullptr,
                                   .tokens = row_TK.size(0),
                                   .choices = row_TK.size(1),
                                   .rows = rows.size(0),
                                   .width = rows.size(1)};
    add_weighted_rows(all, mutable_data_of<Scalar>(out_TD));
  });
  return out_TD;
}

at::Tensor rows_from(const at::Tensor& input, RowOf row, const Permutation& permutation) {
  if (row == RowOf::kToken) return gather_rows(input, permutation);
  return rows_at(input.flatten(0, 1), permutation.slot_R);
}

at::Tensor rows_to(const at::Tensor& rows_RD, const at::Tensor& weight_TK, RowOf row, const Permutation& permutation) {
  if (row == RowOf::kToken) return combine_rows(rows_RD, weight_TK, permutation);
  const int64_t T = permutation.row_TK.size(0), K = permutation.row_TK.size(1), D = rows_RD.size(1);
  if (!permutation.drops()) return rows_at(rows_RD, permutation.row_TK.flatten()).view({T, K, D});
  at::Tensor all_ND = at::zeros({T * K, D}, rows_RD.options()).index_copy_(0, permutation.slot_R, rows_RD);
  if (permutation.has_idle_rows) all_ND.masked_fill_(dropped_TK(permutation).view({T * K, 1}), 0);
  return all_ND.view({T, K, D});
}

CombineGradients combine_rows_backward(const at::Tensor& grad_TD, const at::Tensor& rows_RD,
                                       const at::Tensor& weight_TK, const Permutation& permutation) {
  at::Tensor grad_weight_TK = at::zeros({weight_TK.numel()}, weight_TK.options());
  check_internal(weight_TK.scalar_type() == rows_RD.scalar_type(), "combine_rows_backward: weights of type ",
                 weight_TK.scalar_type(), ", rows of ", rows_RD.scalar_type());
  const DeviceKernels* kernels = kernels_of(rows_RD);
  if (kernels == nullptr && !has_loops(rows_RD)) {
    const at::Tensor grad_RD = gather_rows(grad_TD, permutation);
    grad_weight_TK.index_copy_(0, permutation.slot_R, (grad_RD * rows_RD).sum(1));
    if (permutation.has_idle_rows) grad_weight_TK.masked_fill_(dropped_TK(permutation).flatten(), 0);
    grad_RD.mul_(weight_TK.flatten().index_select(0, permutation.slot_R).unsqueeze(1));
    return {grad_RD, grad_weight_TK.view_as(weight_TK)};
  }
  const at::Tensor grad = grad_TD.contiguous(), rows = rows_RD.contiguous(), weight = weight_TK.contiguous();
  at::Tensor grad_RD = at::empty_like(rows);
  if (kernels != nullptr) {
    check_internal(grad.scalar_type() == rows.scalar_type() && grad.size(1) == rows.size(1) &&
                       permutation.rows() == rows.size(0) && grad.device() == rows.device(),
                   "combine_rows_backward: gradients of type ", grad.scalar_type(), " and shape ", grad.sizes(),
                   " for rows of ", rows.scalar_type(), " and shape ", rows.sizes());
    call(kernels->weighted_rows_backward,
         {.element = element_of(rows),
          .rows = rows.size(0),
          .width = rows.size(1),
          .grad_TD = grad.const_data_ptr(),
          .rows_RD = rows.const_data_ptr(),
          .weight_TK = weight.const_data_ptr(),
          .token_R = permutation.token_R.const_data_ptr<int64_t>(),
          .slot_R = permutation.slot_R.const_data_ptr<int64_t>(),
          .grad_rows_RD = grad_RD.mutable_data_ptr(),
          .grad_weight_TK = grad_weight_TK.mutable_data_ptr()},
         rows.device());
    if (permutation.has_idle_rows) grad_weight_TK.masked_fill_(dropped_TK(permutation).flatten(), 0);
    return {grad_RD, grad_weight_TK.view_as(weight_TK)};
  }
  with_loops(rows.scalar_type(), [&]<class Scalar>() {
    const WeightedRowsBackward<Scalar> all{.grad_TD = data_of<Scalar>(grad),
                                           .rows_RD = data_of<Scalar>(rows),
                                           .weight_TK = data_of<Scalar>(weight),
                                           .token_R = permutation.token_R.const_data_ptr<int64_t>(),
                                           .slot_R = permutation.slot_R.const_data_ptr<int64_t>(),
                                           .rows = rows.size(0),
                                           .width = rows.size(1)};
    weighted_rows_backward(all, mutable_data_of<Scalar>(grad_RD), mutable_data_of<Scalar>(grad_weight_TK));
  });
  return {grad_RD, grad_weight_TK.view_as(weight_TK)};
}

}  // namespace parallel
