// Alone, and with NDEBUG: in a debug build RecordFunction::inputs() asks whether LibTorch has noted that its inputs are
// valid, and LibTorch, which is no debug build, never does.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <memory>
#include <mutex>
#include <string_view>

#include "launch/bench/product_limit.h"
#include "moetrain/products/product_rule.h"

namespace launch {
namespace {

/// Where products go while some are recorded. Backward of a GPU runs on a thread of its own.
std::mutex recording_mutex;
ProductList* recording = nullptr;

bool is_transposed(const at::Tensor& matrix) {
  const int64_t last = matrix.dim() - 1;
  return matrix.stride(last) != 1 && matrix.size(last) != 1;
}

void note(const at::Tensor& left, const at::Tensor& right) {
  const int64_t last = left.dim() - 1;
  const ProductShape shape{.batch = left.dim() == 3 ? left.size(0) : 1,
                           .m = left.size(last - 1),
                           .k = left.size(last),
                           .n = right.size(last),
                           .left_transposed = is_transposed(left),
                           .right_transposed = is_transposed(right),
                           .type = left.scalar_type()};
  if (shape.multiply_adds() > 0) (*recording)[shape] += 1;
}

/// Of each expert rows [R, D] [E, D, H], or [D, R] [R, H]: as one product, which takes as many multiply-adds.
void note_grouped(const at::Tensor& left, const at::Tensor& right) {
  const ProductShape shape{.m = left.size(0),
                           .k = left.size(1),
                           .n = right.size(right.dim() - 1),
                           .left_transposed = is_transposed(left),
                           .right_transposed = is_transposed(right),
                           .type = left.scalar_type()};
  if (shape.multiply_adds() > 0) (*recording)[shape] += 1;
}

/// [S, H, L, d], [S, G, K, d], [S, G, K, v].
void note_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                    bool backward) {
  const int64_t heads = query.size(0) * query.size(1), from = query.size(2), to = key.size(2);
  const double share = causal ? 0.5 : 1;
  const auto to_keys = [&](int64_t width) {
    (*recording)[{
        .batch = heads, .m = from, .k = width, .n = to, .right_transposed = true, .type = query.scalar_type()}] +=
        share;
  };
  const auto to_width = [&](int64_t width) {
    (*recording)[{.batch = heads, .m = from, .k = to, .n = width, .type = query.scalar_type()}] += share;
  };
  const auto of_keys = [&](int64_t width) {
    (*recording)[{
        .batch = heads, .m = to, .k = from, .n = width, .left_transposed = true, .type = query.scalar_type()}] += share;
  };
  const int64_t width = query.size(3), of_value = value.size(3);
  to_keys(width);  // the scores, in backward again
  if (!backward) return to_width(of_value);
  to_keys(of_value);
  to_width(width);
  of_keys(width);
  of_keys(of_value);
}

std::unique_ptr<at::ObserverContext> asked(const at::RecordFunction& function) {
  const std::lock_guard lock(recording_mutex);
  if (recording == nullptr) return nullptr;
  const std::string_view name = function.name();
  const auto inputs = function.inputs();
  const auto tensor = [&](size_t i) { return inputs[i].toTensor(); };
  if (name == "aten::mm" || name == "aten::bmm" || name == "moetrain::wide_product" ||
      name == "moetrain::tile_product") {
    note(tensor(0), tensor(1));
  } else if (name == "aten::addmm" || name == "aten::baddbmm" || name == "aten::addmm_") {
    note(tensor(1), tensor(2));
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") {
    note_attention(tensor(0), tensor(1), tensor(2), inputs[4].toBool(), /*backward=*/false);
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward") {
    note_attention(tensor(1), tensor(2), tensor(3), inputs[7].toBool(), /*backward=*/true);
  } else if (name == "moetrain::softmax_attention" || name == "moetrain::softmax_attention_backward") {
    note_attention(tensor(0), tensor(1), tensor(2), inputs[3].toBool(), name.ends_with("backward"));
  } else if (name == "moetrain::grouped_product") {
    note_grouped(tensor(0), tensor(1));
  }
  return nullptr;
}

/// From its begin to its end, however that comes: products are noted, and go by LibTorch's own way, on one thread,
/// which asks for each whole.
class Recording {
 public:
  explicit Recording(ProductList& products)
      : rule_(moetrain::products_in_use()),
        handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback(&asked).needsInputs(true).scopes({at::RecordScope::FUNCTION}))) {
    at::set_num_threads(1);
    moetrain::use_products({});
    record(&products);
  }
  ~Recording() {
    record(nullptr);
    at::removeCallback(handle_);
    moetrain::use_products(rule_);
    at::set_num_threads(threads_);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  static void record(ProductList* products) {
    const std::lock_guard lock(recording_mutex);
    recording = products;
  }

  const int threads_ = at::get_num_threads();
  moetrain::ProductRule rule_;
  at::CallbackHandle handle_;
};

}  // namespace

ProductList recorded_products(const std::function<void()>& work) {
  ProductList products;
  const Recording all_of_it(products);
  work();
  return products;
}

}  // namespace launch
