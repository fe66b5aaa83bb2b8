// Alone, and with NDEBUG: in a debug build RecordFunction::inputs() asks whether LibTorch has noted that its inputs are
// valid, and LibTorch, which is no debug build, never does.
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <memory>
#include <string_view>

#include "launch/bench/product_limit.h"
#include "moetrain/products/product_rule.h"

namespace launch {
namespace {

thread_local ProductList* recording = nullptr;

bool is_transposed(const at::Tensor& matrix) {
  const int64_t last = matrix.dim() - 1;
  return matrix.stride(last) != 1 && matrix.size(last) != 1;
}

void note(const at::Tensor& left, const at::Tensor& right, double count = 1) {
  const int64_t last = left.dim() - 1;
  const ProductShape shape{.batch = left.dim() == 3 ? left.size(0) : 1,
                           .m = left.size(last - 1),
                           .k = left.size(last),
                           .n = right.size(last),
                           .left_transposed = is_transposed(left),
                           .right_transposed = is_transposed(right),
                           .type = left.scalar_type()};
  if (shape.multiply_adds() > 0) (*recording)[shape] += count;
}

/// [S, H, L, d] each.
void note_attention(const at::Tensor& query, const at::Tensor& key, bool causal, bool backward) {
  const int64_t heads = query.size(0) * query.size(1), from = query.size(2), to = key.size(2), width = query.size(3);
  const double share = causal ? 0.5 : 1;
  const ProductShape scores{
      .batch = heads, .m = from, .k = width, .n = to, .right_transposed = true, .type = query.scalar_type()};
  const ProductShape out{.batch = heads, .m = from, .k = to, .n = width, .type = query.scalar_type()};
  const ProductShape of_keys{
      .batch = heads, .m = to, .k = from, .n = width, .left_transposed = true, .type = query.scalar_type()};
  (*recording)[scores] += backward ? 2 * share : share;
  (*recording)[out] += share;
  if (backward) (*recording)[of_keys] += 2 * share;
}

std::unique_ptr<at::ObserverContext> asked(const at::RecordFunction& function) {
  if (recording == nullptr) return nullptr;
  const std::string_view name = function.name();
  const auto inputs = function.inputs();
  const auto tensor = [&](size_t i) { return inputs[i].toTensor(); };
  if (name == "aten::mm" || name == "aten::bmm") {
    note(tensor(0), tensor(1));
  } else if (name == "aten::addmm" || name == "aten::baddbmm" || name == "aten::addmm_") {
    note(tensor(1), tensor(2));
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") {
    note_attention(tensor(0), tensor(1), inputs[4].toBool(), /*backward=*/false);
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward") {
    note_attention(tensor(1), tensor(2), inputs[7].toBool(), /*backward=*/true);
  }
  return nullptr;
}

}  // namespace

ProductList recorded_products(const std::function<void()>& work) {
  ProductList products;
  const moetrain::ProductRule rule = moetrain::products_in_use();
  moetrain::use_products({});
  recording = &products;
  const at::CallbackHandle handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&asked).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  recording = nullptr;
  moetrain::use_products(rule);
  return products;
}

}  // namespace launch
