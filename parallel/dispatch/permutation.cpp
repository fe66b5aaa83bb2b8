#include "parallel/dispatch/permutation.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <numeric>
#include <tuple>
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
  result.rows_per_expert.assign(static_cast<size_t>(num_experts), 0);
  for (int64_t slot = 0; slot < choices; ++slot) {
    if (expert_of[slot] == Assignment::kDropped) continue;
    check_internal(0 <= expert_of[slot] && expert_of[slot] < num_experts, "sort_by_expert: expert ", expert_of[slot],
                   " of ", num_experts, " for choice ", slot);
    ++result.rows_per_expert[static_cast<size_t>(expert_of[slot])];
  }
  std::vector<int64_t> next(result.rows_per_expert.size(), 0);
  int64_t rows = 0;
  for (size_t e = 0; e < next.size(); ++e) {
    next[e] = rows;
    rows += result.rows_per_expert[e];
  }
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

/// Of a device, whose host does not know yet how many rows there are: rows of all choices, those behind the last one's
/// empty.
Permutation sort_by_kernel(const DeviceKernels& kernels, const at::Tensor& expert_TK, at::Tensor& rows_E) {
  const at::Tensor expert = expert_TK.contiguous();
  const int64_t choices = expert.numel(), experts = rows_E.size(0);
  const at::Tensor scratch = at::empty({kernels.sorting_scratch(choices, experts)}, expert.options().dtype(at::kInt));
  Permutation result{
      at::empty({choices}, expert.options()), at::empty({choices}, expert.options()), at::empty_like(expert), {}};
  call(kernels.sort_choices,
       {.choices = choices,
        .top_k = expert.size(1),
        .experts = experts,
        .expert_N = expert.const_data_ptr<int64_t>(),
        .scratch = scratch.mutable_data_ptr<int32_t>(),
        .rows_E = rows_E.mutable_data_ptr<int64_t>(),
        .token_N = result.token_R.mutable_data_ptr<int64_t>(),
        .slot_N = result.slot_R.mutable_data_ptr<int64_t>(),
        .row_N = result.row_TK.mutable_data_ptr<int64_t>()},
       expert.device());
  return result;
}

std::vector<int64_t> on_host(const at::Tensor& rows_E) {
  const at::Tensor host = rows_E.to(at::kCPU);
  return {host.const_data_ptr<int64_t>(), host.const_data_ptr<int64_t>() + host.numel()};
}

/// combine_rows by LibTorch, a choice of all tokens at a time.
at::Tensor combine_rows_by_choice(const at::Tensor& rows_RD, const at::Tensor& weight_TK,
                                  const Permutation& permutation) {
  const int64_t top_k = permutation.row_TK.size(1), rows = permutation.rows();
  if (rows == 0) return at::zeros({permutation.row_TK.size(0), rows_RD.size(1)}, rows_RD.options());
  const bool dropped = rows < permutation.row_TK.numel();
  const at::Tensor factor_TK =
      dropped && weight_TK.defined() ? weight_TK.masked_fill(permutation.row_TK == rows, 0) : weight_TK;
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

ChoiceOrder::ChoiceOrder(const at::Tensor& expert_TK, int64_t num_experts) : expert_TK_(expert_TK) {
  check_internal(expert_TK.dim() == 2 && expert_TK.scalar_type() == at::kLong, "sort_by_expert: choices of shape ",
                 expert_TK.sizes(), " and type ", expert_TK.scalar_type());
  if (!is_accelerator(expert_TK.device())) {
    sorted_ = sort_on_host(expert_TK, num_experts);
    rows_E_ = at::tensor(sorted_.rows_per_expert, at::kLong);
    return;
  }
  const DeviceKernels* kernels = kernels_of(expert_TK.device());
  if (kernels != nullptr && num_experts <= kMostSorted) {
    rows_E_ = at::empty({num_experts}, expert_TK.options());
    sorted_ = sort_by_kernel(*kernels, expert_TK, rows_E_);
    return;
  }
  const at::Tensor key = at::where(expert_TK == Assignment::kDropped, num_experts, expert_TK).flatten();
  at::Tensor sorted;
  std::tie(sorted, order_N_) = at::sort(key, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  // bincount would wait for the largest key.
  const at::Tensor end_E =
      at::searchsorted(sorted, at::arange(num_experts, key.options()), /*out_int32=*/false, /*right=*/true);
  rows_E_ = at::diff(end_E, 1, 0, at::zeros({1}, end_E.options()));
}

Permutation ChoiceOrder::permutation(std::vector<int64_t> rows_per_expert) const {
  const int64_t rows = std::accumulate(rows_per_expert.begin(), rows_per_expert.end(), int64_t{0});
  if (!order_N_.defined()) {
    return {sorted_.token_R.narrow(0, 0, rows), sorted_.slot_R.narrow(0, 0, rows), sorted_.row_TK,
            std::move(rows_per_expert)};
  }
  Permutation result;
  result.rows_per_expert = std::move(rows_per_expert);
  result.slot_R = order_N_.narrow(0, 0, rows);
  result.token_R = at::floor_divide(result.slot_R, expert_TK_.size(1));
  const at::Tensor place = at::arange(order_N_.numel(), order_N_.options()).clamp_max(rows);
  result.row_TK = at::empty_like(order_N_).scatter_(0, order_N_, place).view_as(expert_TK_);
  return result;
}

Permutation sort_by_expert(const at::Tensor& expert_TK, int64_t num_experts) {
  const ChoiceOrder order(expert_TK, num_experts);
  return order.permutation(on_host(order.rows_E()));
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
  if (const DeviceKernels* kernels = kernels_of(rows_ND)) {
    const at::Tensor from = rows_ND.contiguous(), index = index_R.contiguous();
    at::Tensor to_RD = at::empty({index.size(0), rows_ND.size(1)}, rows_ND.options());
    call(kernels->copy_rows,
         {.element = element_of(from),
          .rows = index.size(0),
          .width = from.size(1),
          .from = from.const_data_ptr(),
          .index_R = index.const_data_ptr<int64_t>(),
          .rows_RD = to_RD.mutable_data_ptr()},
         from.device());
    return to_RD;
  }
  if (!has_loops(rows_ND)) return rows_ND.index_select(0, index_R);
  const at::Tensor from = rows_ND.contiguous();
  const int64_t rows = index_R.size(0), width = rows_ND.size(1);
  at::Tensor to_RD = at::empty({rows, width}, rows_ND.options());
  AT_DISPATCH_FLOATING_TYPES(from.scalar_type(), "rows_at", [&] {
    copy_rows(from.const_data_ptr<scalar_t>(), index_R.const_data_ptr<int64_t>(), rows, width,
              to_RD.mutable_data_ptr<scalar_t>());
  });
  return to_RD;
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
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "combine_rows", [&] {
    const WeightedRows<scalar_t> all{.rows_RD = rows.const_data_ptr<scalar_t>(),
                                     .row_TK = row_TK.const_data_ptr<int64_t>(),
                                     .weight_TK = weight.defined() ? weight.const_data_ptr<scalar_t>() : nullptr,
                                     .tokens = row_TK.size(0),
                                     .choices = row_TK.size(1),
                                     .rows = rows.size(0),
                                     .width = rows.size(1)};
    add_weighted_rows(all, out_TD.mutable_data_ptr<scalar_t>());
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
  if (permutation.rows() == T * K) return rows_at(rows_RD, permutation.row_TK.flatten()).view({T, K, D});
  return at::zeros({T * K, D}, rows_RD.options()).index_copy_(0, permutation.slot_R, rows_RD).view({T, K, D});
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
    grad_RD.mul_(weight_TK.flatten().index_select(0, permutation.slot_R).unsqueeze(1));
    return {grad_RD, grad_weight_TK.view_as(weight_TK)};
  }
  const at::Tensor grad = grad_TD.contiguous(), rows = rows_RD.contiguous(), weight = weight_TK.contiguous();
  at::Tensor grad_RD = at::empty_like(rows);
  if (kernels != nullptr) {
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
    return {grad_RD, grad_weight_TK.view_as(weight_TK)};
  }
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "combine_rows_backward", [&] {
    const WeightedRowsBackward<scalar_t> all{.grad_TD = grad.const_data_ptr<scalar_t>(),
                                             .rows_RD = rows.const_data_ptr<scalar_t>(),
                                             .weight_TK = weight.const_data_ptr<scalar_t>(),
                                             .token_R = permutation.token_R.const_data_ptr<int64_t>(),
                                             .slot_R = permutation.slot_R.const_data_ptr<int64_t>(),
                                             .rows = rows.size(0),
                                             .width = rows.size(1)};
    weighted_rows_backward(all, grad_RD.mutable_data_ptr<scalar_t>(), grad_weight_TK.mutable_data_ptr<scalar_t>());
  });
  return {grad_RD, grad_weight_TK.view_as(weight_TK)};
}

}  // namespace parallel
