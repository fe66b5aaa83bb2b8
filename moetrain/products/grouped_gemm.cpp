#include "moetrain/products/grouped_gemm.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "moetrain/products/product_rule.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/device_library.h"
#include "parallel/device/host_tensor.h"
#include "parallel/device/kernel_call.h"
#include "parallel/dispatch/permutation.h"

namespace moetrain {
namespace {

/// As a device's kernel wants the rows that it reads or writes.
bool is_aligned(const at::Tensor& rows) {
  constexpr int64_t kAligned = 8;  // 16 bytes of bf16
  return rows.size(1) % kAligned == 0 && rows.stride(1) == 1 && rows.stride(0) % kAligned == 0 &&
         rows.storage_offset() % kAligned == 0;
}

/// As it wants a matrix of each expert to begin: flat buffers put them anywhere.
bool begins_aligned(const at::Tensor& matrix_EMN) {
  return reinterpret_cast<uintptr_t>(matrix_EMN.const_data_ptr()) % 16 == 0;
}

/// A device's own kernel for bf16, which does not ask the host how many rows each expert has; elsewhere one
/// multiplication an expert, straight into its place, is as fast: the rows of an expert are many and its weight is read
/// once.
bool has_grouped_kernel(const at::Tensor& rows, const at::Tensor& out, const at::Tensor& matrix_EMN,
                        const parallel::RowsPerExpert& rows_per_expert) {
  constexpr int64_t kMostExperts = 1023;
  return parallel::is_accelerator(rows.device()) && rows.scalar_type() == at::kBFloat16 && rows.size(0) > 0 &&
         is_aligned(rows) && is_aligned(out) && begins_aligned(matrix_EMN) &&
         rows_per_expert.experts() <= kMostExperts && parallel::has_grouped_product();
}

/// Noted for who counts products (launch/bench).
void grouped_product(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                     const parallel::RowsPerExpert& rows_per_expert) {
  RECORD_FUNCTION("moetrain::grouped_product", std::vector<c10::IValue>({left, right}));
  parallel::grouped_product_out(out, left, right, rows_per_expert.ends(out.device()));
}

/// Of experts without rows. Where the host does not know which these are, a kernel looks, or LibTorch sweeps over all.
void zero_idle(const at::Tensor& out_EMN, const parallel::RowsPerExpert& rows_per_expert) {
  if (!rows_per_expert.known()) {
    const at::Tensor end_E = rows_per_expert.ends(out_EMN.device());
    const parallel::DeviceKernels* kernels = parallel::kernels_of(out_EMN);
    if (kernels != nullptr && out_EMN.is_contiguous() && out_EMN.size(0) > 0) {
      parallel::call(kernels->zero_idle_groups,
                     {.groups = out_EMN.size(0),
                      .bytes = static_cast<int64_t>(out_EMN.nbytes()) / out_EMN.size(0),
                      .end_G = end_E.const_data_ptr<int32_t>(),
                      .out = out_EMN.mutable_data_ptr()},
                     out_EMN.device());
      return;
    }
    const at::Tensor idle_E = at::diff(end_E, 1, 0, at::zeros({1}, end_E.options())) == 0;
    out_EMN.masked_fill_(idle_E.view({-1, 1, 1}), 0);
    return;
  }
  const std::vector<int64_t>& rows_E = rows_per_expert.on_host();
  for (size_t e = 0; e < rows_E.size(); ++e) {
    if (rows_E[e] == 0) out_EMN.select(0, static_cast<int64_t>(e)).zero_();
  }
}

/// By the way that this process takes for such products.
void multiply_each(const std::vector<Product>& products, ProductKind kind, const at::Tensor& weight_EMN) {
  if (products.empty()) return;
  const Product& first = products.front();
  int64_t rows = 0;
  for (const Product& each : products) {
    rows += kind == ProductKind::kWeightGradient ? each.left_MK.size(1) : each.left_MK.size(0);
  }
  const GroupedShape shape{.kind = kind,
                           .in = weight_EMN.size(1),
                           .out = weight_EMN.size(2),
                           .rows = rows / static_cast<int64_t>(products.size())};
  // What was measured is of float32.
  multiply_all(products,
               parallel::has_wide_loops(first.left_MK) ? products_in_use().way(shape) : products_in_use().otherwise);
}

void multiply(at::Tensor& out, const at::Tensor& rows, const at::Tensor& weight_EMN, ProductKind kind,
              const parallel::RowsPerExpert& rows_per_expert, bool add = false) {
  const at::Tensor weight_E = kind == ProductKind::kInputGradient ? weight_EMN.transpose(1, 2) : weight_EMN;
  if (!out.defined()) out = at::empty({rows.size(0), weight_E.size(2)}, rows.options());
  if (has_grouped_kernel(rows, out, weight_EMN, rows_per_expert)) {
    const at::Tensor product = add ? at::empty_like(out) : out;
    grouped_product(product, rows, weight_E, rows_per_expert);
    if (add) out.add_(product);
    return;
  }
  std::vector<Product> products;
  parallel::for_each_expert(rows_per_expert, [&](int64_t e, int64_t begin, int64_t count) {
    products.push_back({out.narrow(0, begin, count), rows.narrow(0, begin, count), weight_E.select(0, e), add});
  });
  multiply_each(products, kind, weight_EMN);
}

}  // namespace

at::Tensor grouped_mm(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                      const parallel::RowsPerExpert& rows_per_expert) {
  at::Tensor out_RN;
  multiply(out_RN, rows_RM, weight_EMN, ProductKind::kForward, rows_per_expert);
  return out_RN;
}

void grouped_mm_out(at::Tensor& out_RN, const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                    const parallel::RowsPerExpert& rows_per_expert) {
  multiply(out_RN, rows_RM, weight_EMN, ProductKind::kForward, rows_per_expert);
}

at::Tensor grouped_mm_transposed(const at::Tensor& rows_RN, const at::Tensor& weight_EMN,
                                 const parallel::RowsPerExpert& rows_per_expert) {
  at::Tensor out_RM;
  multiply(out_RM, rows_RN, weight_EMN, ProductKind::kInputGradient, rows_per_expert);
  return out_RM;
}

void grouped_mm_transposed_out(at::Tensor& out_RM, const at::Tensor& rows_RN, const at::Tensor& weight_EMN,
                               const parallel::RowsPerExpert& rows_per_expert, bool add) {
  multiply(out_RM, rows_RN, weight_EMN, ProductKind::kInputGradient, rows_per_expert, add);
}

void grouped_weight_gradient_out(at::Tensor out_EMN, const at::Tensor& rows_RM, const at::Tensor& grad_RN,
                                 const parallel::RowsPerExpert& rows_per_expert) {
  if (has_grouped_kernel(rows_RM, grad_RN, out_EMN, rows_per_expert)) {
    grouped_product(out_EMN, rows_RM.t(), grad_RN, rows_per_expert);
    zero_idle(out_EMN, rows_per_expert);
    return;
  }
  zero_idle(out_EMN, rows_per_expert);
  std::vector<Product> products;
  parallel::for_each_expert(rows_per_expert, [&](int64_t e, int64_t begin, int64_t count) {
    products.push_back({out_EMN.select(0, e), rows_RM.narrow(0, begin, count).t(), grad_RN.narrow(0, begin, count)});
  });
  multiply_each(products, ProductKind::kWeightGradient, out_EMN);
}

}  // namespace moetrain
