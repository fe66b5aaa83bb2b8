#include "moetrain/fused/few_rows.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <algorithm>

#include "parallel/autograd/recompute.h"
#include "parallel/base/fault.h"
#include "parallel/device/host_tensor.h"
#include "parallel/dispatch/permutation.h"
#include "parallel/kernels/few_rows.h"

namespace moetrain {
namespace {

/// But for how many they are.
bool has_rows(const at::Tensor& x, const at::Tensor& weight) {
  return !at::GradMode::is_enabled() && !parallel::will_be_replayed() && parallel::has_wide_loops(x) &&
         x.scalar_type() == weight.scalar_type() && x.is_contiguous() && weight.is_contiguous();
}

}  // namespace

bool has_few_rows(const at::Tensor& x, const at::Tensor& weight) {
  return has_rows(x, weight) && x.numel() > 0 && x.numel() <= parallel::kFewRows * x.size(-1);
}

at::Tensor few_rows_linear(const at::Tensor& x, const at::Tensor& weight_NM, const at::Tensor& bias_N) {
  const int64_t in = weight_NM.size(1), out = weight_NM.size(0);
  parallel::check_internal(x.size(-1) == in && (!bias_N.defined() || bias_N.is_contiguous()),
                           "few_rows_linear: ", x.sizes(), " by a weight of ", weight_NM.sizes());
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out;
  at::Tensor y = at::empty(shape, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "few_rows_linear", [&] {
    const parallel::FewRowsLinear<scalar_t> all{
        .x_RM = x.const_data_ptr<scalar_t>(),
        .weight_NM = weight_NM.const_data_ptr<scalar_t>(),
        .bias_N = bias_N.defined() ? bias_N.const_data_ptr<scalar_t>() : nullptr,
        .rows = x.numel() / in,
        .in = in,
        .out = out};
    parallel::few_rows_linear(all, y.mutable_data_ptr<scalar_t>());
  });
  return y;
}

bool has_few_rows_of_experts(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                             const parallel::RowsPerExpert& rows_per_expert) {
  return has_rows(rows_RM, weight_EMN) &&
         std::ranges::all_of(rows_per_expert.on_host(), [](int64_t rows) { return rows <= parallel::kFewRows; });
}

at::Tensor few_rows_experts(const at::Tensor& rows_RM, const at::Tensor& weight_EMN,
                            const parallel::RowsPerExpert& rows_per_expert) {
  const int64_t in = weight_EMN.size(1), out = weight_EMN.size(2);
  parallel::check_internal(rows_RM.size(1) == in && rows_per_expert.experts() == weight_EMN.size(0),
                           "few_rows_experts: ", rows_RM.sizes(), " by weights of ", weight_EMN.sizes());
  std::vector<parallel::ExpertRows> experts;
  parallel::for_each_expert(rows_per_expert, [&](int64_t expert, int64_t begin, int64_t count) {
    experts.push_back({expert, begin, count});
  });
  at::Tensor out_RN = at::empty({rows_RM.size(0), out}, rows_RM.options());
  AT_DISPATCH_FLOATING_TYPES(rows_RM.scalar_type(), "few_rows_experts", [&] {
    const parallel::FewRowsOfExperts<scalar_t> all{.x_RM = rows_RM.const_data_ptr<scalar_t>(),
                                                   .weight_EMN = weight_EMN.const_data_ptr<scalar_t>(),
                                                   .experts = experts,
                                                   .in = in,
                                                   .out = out};
    parallel::few_rows_experts(all, out_RN.mutable_data_ptr<scalar_t>());
  });
  return out_RN;
}

}  // namespace moetrain
