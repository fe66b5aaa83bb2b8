// What CUDA has kernels of its own for, with the contracts that they have there and that nobody else enforces.
#include <ATen/ATen.h>
#include <ATen/SDPBackend.h>
#include <ATen/native/ForeachUtils.h>
#include <torch/library.h>

#include <array>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "parallel/device/cuda_device.h"
#include "tests/strict_device/kernels.h"
#include "tests/strict_device/launches.h"
#include "tests/strict_device/streams.h"
#include "tests/strict_device/waits.h"

namespace strict {
namespace {

/// CUDA's choice: no kernel for float64; for float32 none for shared heads; else a fused one.
int64_t fused_sdp_choice(const at::Tensor& query, const at::Tensor& key, const at::Tensor&,
                         const std::optional<at::Tensor>&, double, bool, std::optional<double>, bool) {
  const bool shared = query.size(1) != key.size(1);
  const bool fused = query.scalar_type() == at::kBFloat16 || (query.scalar_type() == at::kFloat && !shared);
  if (!fused && query.scalar_type() != at::kDouble) count_wait("attention that keeps its scores");
  return static_cast<int64_t>(fused ? at::SDPBackend::overrideable : at::SDPBackend::math);
}

at::Tensor each_query_head(const at::Tensor& heads, int64_t shared) {
  return shared > 1 ? heads.repeat_interleave(shared, 1) : heads;
}

at::Tensor summed_over_shared(const at::Tensor& gradient, int64_t shared) {
  if (shared == 1) return gradient;
  return gradient.view({gradient.size(0), gradient.size(1) / shared, shared, gradient.size(2), gradient.size(3)})
      .sum(2);
}

using Attention = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor,
                             at::Tensor, at::Tensor>;

Attention attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const std::optional<at::Tensor>& bias, double dropout, bool causal, bool,
                    std::optional<double> scale) {
  TORCH_CHECK(query.stride(-1) == 1 && key.stride(-1) == 1 && value.stride(-1) == 1,
              "strict device: fused attention wants the last dimension dense");
  finish(current_stream());
  const int64_t shared = query.size(1) / key.size(1);
  const auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(
      kernel_view(query), each_query_head(kernel_view(key), shared), each_query_head(kernel_view(value), shared),
      dropout, causal, bias && bias->defined() ? std::optional<at::Tensor>(kernel_view(*bias)) : std::nullopt, scale);
  record_launch("fused attention", {{query, false}, {key, false}, {value, false}, {out, true}, {log_sum, true}});
  const at::Tensor seed = device_empty({}, {}, at::kLong), offset = device_empty({}, {}, at::kLong);
  return {brought(out), brought(log_sum), {}, {}, query.size(2), key.size(2), seed, offset, {}};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> attention_backward(
    const at::Tensor& gradient, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& bias, std::array<bool, 4>, const at::Tensor& out, const at::Tensor& log_sum, const at::Tensor&,
    const at::Tensor&, c10::SymInt, c10::SymInt, double dropout, bool causal, const at::Tensor&, const at::Tensor&,
    std::optional<double> scale) {
  finish(current_stream());
  const int64_t shared = query.size(1) / key.size(1);
  const auto [of_query, of_key, of_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      kernel_view(gradient), kernel_view(query), each_query_head(kernel_view(key), shared),
      each_query_head(kernel_view(value), shared), kernel_view(out), kernel_view(log_sum), dropout, causal,
      bias.defined() ? std::optional<at::Tensor>(kernel_view(bias)) : std::nullopt, scale);
  record_launch("fused attention backward", {{gradient, false},
                                             {query, false},
                                             {key, false},
                                             {value, false},
                                             {out, false},
                                             {log_sum, false},
                                             {of_query, true},
                                             {of_key, true},
                                             {of_value, true}});
  return {brought(of_query),
          brought(summed_over_shared(of_key, shared)),
          brought(summed_over_shared(of_value, shared)),
          {}};
}

void check_grouped_matrix(const at::Tensor& matrix, const char* name) {
  const int64_t step = 16 / static_cast<int64_t>(matrix.element_size());  // of 16 bytes
  const int64_t rows = matrix.stride(-2), columns = matrix.stride(-1);
  TORCH_CHECK((columns == 1 && rows % step == 0) || (rows == 1 && columns % step == 0),
              "strict device: a grouped product wants ", name, "'s strides to be multiples of 16 bytes, not ",
              matrix.strides());
  TORCH_CHECK(matrix.storage_offset() % step == 0, "strict device: a grouped product wants ", name,
              " to begin at 16 bytes");
}

/// CUDA's kernel reads its steps from its own memory, and takes lists of one type, one device and equal strides.
void fused_adamw(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t first = stack->size() - op.schema().arguments().size();
  std::vector<std::vector<at::Tensor>> lists;  // weights, gradients, both moments
  for (size_t i = 0; i < 4; ++i) lists.push_back((*stack)[first + i].toTensorVector());
  for (const at::Tensor& step : (*stack)[first + 5].toTensorVector()) {
    TORCH_CHECK(on_device(step) && step.scalar_type() == at::kFloat,
                "strict device: _fused_adamw_ wants its steps on the device, as float32");
  }
  TORCH_CHECK(at::native::check_fast_path_restrictions({lists[0], lists[1], lists[2], lists[3]}),
              "strict device: _fused_adamw_ wants weights, gradients and moments of one type and of equal strides");
  run_on_cpu(op, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("_fused_sdp_choice", TORCH_FN(fused_sdp_choice));
  library.impl("_scaled_dot_product_fused_attention_overrideable", TORCH_FN(attention));
  library.impl("_scaled_dot_product_fused_attention_overrideable_backward", TORCH_FN(attention_backward));
  library.impl("_fused_adamw_", torch::CppFunction::makeFromBoxedFunction<&fused_adamw>());
}

}  // namespace

}  // namespace strict

namespace parallel {

bool cuda_has_grouped_product() { return true; }

/// CUDA's kernel leaves rows of no group as they are, and sums over none undefined: here NaNs.
void cuda_grouped_product_out(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right,
                              const at::Tensor& end_G) {
  for (const at::Tensor& matrix : {out, left, right}) {
    TORCH_CHECK(strict::on_device(matrix) && matrix.scalar_type() == at::kBFloat16,
                "strict device: a grouped product takes its own bf16 alone, not ", matrix.scalar_type());
  }
  TORCH_CHECK(strict::on_device(end_G) && end_G.scalar_type() == at::kInt && end_G.is_contiguous(),
              "strict device: a grouped product wants the ends of its groups on the device, as int32");
  TORCH_CHECK(end_G.numel() < 1024, "strict device: a grouped product of ", end_G.numel(), " groups");
  TORCH_CHECK(out.stride(-1) == 1, "strict device: a grouped product writes rows, not strides ", out.strides());
  strict::check_grouped_matrix(out, "the result");
  strict::check_grouped_matrix(left, "the left matrix");
  strict::check_grouped_matrix(right, "the right matrix");
  strict::finish(strict::current_stream());
  strict::record_launch("grouped product", {{left, false}, {right, false}, {end_G, false}, {out, true}});
  const at::Tensor to = strict::kernel_view(out), from = strict::kernel_view(left), by = strict::kernel_view(right);
  const at::Tensor ends = strict::kernel_view(end_G);
  const auto end = ends.accessor<int32_t, 1>();
  for (int64_t group = 0, begin = 0; group < end.size(0); begin = end[group++]) {
    const int64_t rows = end[group] - begin;
    TORCH_CHECK(rows >= 0 && end[group] <= (by.dim() == 3 ? from.size(0) : from.size(1)),
                "strict device: a grouped product of ends ", ends);
    if (by.dim() == 3) {
      to.narrow(0, begin, rows).copy_(at::mm(from.narrow(0, begin, rows), by.select(0, group)));
    } else if (rows > 0) {
      to.select(0, group).copy_(at::mm(from.narrow(1, begin, rows), by.narrow(0, begin, rows)));
    } else {
      to.select(0, group).fill_(std::numeric_limits<float>::quiet_NaN());
    }
  }
}

}  // namespace parallel
