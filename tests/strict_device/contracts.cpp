// What CUDA has kernels of its own for, with the contracts that they have there and that nobody else enforces.
#include <ATen/ATen.h>
#include <ATen/SDPBackend.h>
#include <ATen/native/ForeachUtils.h>
#include <torch/library.h>

#include <array>
#include <optional>
#include <tuple>
#include <vector>

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
              "strict device: _grouped_mm wants ", name, "'s strides to be multiples of 16 bytes, not ",
              matrix.strides());
  TORCH_CHECK(matrix.storage_offset() % step == 0, "strict device: _grouped_mm wants ", name, " to begin at 16 bytes");
}

at::Tensor grouped_mm(const at::Tensor& left, const at::Tensor& right, const std::optional<at::Tensor>& ends,
                      const std::optional<at::Tensor>& bias, std::optional<at::ScalarType> type) {
  TORCH_CHECK(left.scalar_type() == at::kBFloat16 && right.scalar_type() == at::kBFloat16 && !bias,
              "strict device: _grouped_mm takes bf16 alone, not ", left.scalar_type());
  TORCH_CHECK(ends && on_device(*ends) && ends->scalar_type() == at::kInt,
              "strict device: _grouped_mm wants the ends of its groups on the device, as int32");
  check_grouped_matrix(left, "the left matrix");
  check_grouped_matrix(right, "the right matrix");
  finish(current_stream());
  const at::Tensor product = at::_grouped_mm(kernel_view(left), kernel_view(right), kernel_view(*ends), {}, type);
  record_launch("aten::_grouped_mm", {{left, false}, {right, false}, {*ends, false}, {product, true}});
  return brought(product);
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
  library.impl("_grouped_mm", TORCH_FN(grouped_mm));
  library.impl("_fused_adamw_", torch::CppFunction::makeFromBoxedFunction<&fused_adamw>());
}

}  // namespace

}  // namespace strict
