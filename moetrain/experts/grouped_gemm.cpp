#include "moetrain/experts/grouped_gemm.h"

#include <ATen/ATen.h>

#include <numeric>

#include "moetrain/products/product_rule.h"
#include "parallel/device/accelerator.h"
#include "parallel/device/host_tensor.h"
#include "parallel/dispatch/permutation.h"

namespace moetrain {
namespace {

/// LibTorch's grouped kernel serves bf16 on GPUs; elsewhere one multiplication an expert, straight into its place, is
/// as fast: the rows of an expert are many and its weight is read once.
bool has_grouped_kernel(const at::Tensor& rows, int64_t out_dim) {
  constexpr int64_t kAligned = 8;  // its strides must be multiples of 16 bytes
  return parallel::is_accelerator(rows.device()) && rows.scalar_type() == at::kBFloat16 && rows.size(0) > 0 &&
         rows.size(1) % kAligned == 0 && rows.stride(0) % kAligned == 0 && out_dim % kAligned == 0;
}

at::Tensor end_offsets(const std::vector<int64_t>& rows_per_expert, at::Device device) {
  const auto experts = static_cast<int64_t>(rows_per_expert.size());
  at::Tensor end_E = at::empty({experts}, at::kInt);
  std::partial_sum(rows_per_expert.begin(), rows_per_expert.end(), end_E.data_ptr<int32_t>());
  return parallel::send(end_E, device);
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
  multiply_all(products, parallel::has_loops(first.out_MN) ? products_in_use().way(shape) : ProductWay{});
}

void multiply(at::Tensor& out, const at::Tensor& rows, const at::Tensor& weight_EMN, ProductKind kind,
              const std::vector<int64_t>& rows_per_expert, bool add = false) {
  const at::Tensor weight_E = kind == ProductKind::kInputGradient ? weight_EMN.transpose(1, 2) : weight_EMN;
  if (has_grouped_kernel(rows, weight_E.size(2))) {
    const at::Tensor result = at::_grouped_mm(rows, weight_E, end_offsets(rows_per_expert, rows.device()));
    if (!out.defined()) {
      out = result;
    } else {
      add ? out.add_(result) : out.copy_(result);
    }
    return;
  }
  if (!out.defined()) out = at::empty({rows.size(0), weight_E.size(2)}, rows.options());
  std::vector<Product> products;
  parallel::for_each_expert(rows_per_expert, [&](int64_t e, int64_t begin, int64_t count) {
    products.push_back({out.narrow(0, begin, count), rows.narrow(0, begin, count), weight_E.select(0, e), add});
  });
  multiply_each(products, kind, weight_EMN);
}

}  // namespace

at::Tensor grouped_mm(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                      const std::vector<int64_t>& rows_per_expert) {
  at::Tensor out_RN;
  multiply(out_RN, rows_RM, weight_EMN, ProductKind::kForward, rows_per_expert);
  return out_RN;
}

void grouped_mm_out(at::Tensor& out_RN, const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                    const std::vector<int64_t>& rows_per_expert) {
  multiply(out_RN, rows_RM, weight_EMN, ProductKind::kForward, rows_per_expert);
}

at::Tensor grouped_mm_transposed(const at::Tensor& rows_RN, const at::Tensor& weight_EMN,
                                 const std::vector<int64_t>& rows_per_expert) {
  at::Tensor out_RM;
  multiply(out_RM, rows_RN, weight_EMN, ProductKind::kInputGradient, rows_per_expert);
  return out_RM;
}

void grouped_mm_transposed_out(at::Tensor& out_RM, const at::Tensor& rows_RN, const at::Tensor& weight_EMN,
                               const std::vector<int64_t>& rows_per_expert, bool add) {
  multiply(out_RM, rows_RN, weight_EMN, ProductKind::kInputGradient, rows_per_expert, add);
}

void grouped_weight_gradient_out(at::Tensor out_EMN, const at::Tensor& rows_RM, const at::Tensor& grad_RN,
                                 const std::vector<int64_t>& rows_per_expert) {
  const bool grouped = has_grouped_kernel(rows_RM, grad_RN.size(1)) && has_grouped_kernel(grad_RN, rows_RM.size(1));
  if (grouped) out_EMN.copy_(at::_grouped_mm(rows_RM.t(), grad_RN, end_offsets(rows_per_expert, rows_RM.device())));
  for (size_t e = 0; e < rows_per_expert.size(); ++e) {
    if (rows_per_expert[e] == 0) out_EMN.select(0, static_cast<int64_t>(e)).zero_();
  }
  if (grouped) return;
  std::vector<Product> products;
  parallel::for_each_expert(rows_per_expert, [&](int64_t e, int64_t begin, int64_t count) {
    products.push_back({out_EMN.select(0, e), rows_RM.narrow(0, begin, count).t(), grad_RN.narrow(0, begin, count)});
  });
  multiply_each(products, ProductKind::kWeightGradient, out_EMN);
}

}  // namespace moetrain
