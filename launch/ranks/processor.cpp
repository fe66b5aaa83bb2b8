#include "launch/ranks/processor.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "moetrain/products/product_rule.h"
#include "parallel/base/fault.h"
#include "parallel/memory/kept_memory.h"

namespace launch {

void use_processor(const RunConfig& run) {
  at::set_num_threads(static_cast<int>(run.threads));
  if (run.keep_memory && run.device == Device::kCpu) parallel::KeptMemory::install();
  moetrain::ProductWay way;
  if (run.matrix_products == MatrixProducts::kOneDnn) way.library = moetrain::ProductLibrary::kOneDnn;
  if (run.matrix_products == MatrixProducts::kOpenBlas) way.library = moetrain::ProductLibrary::kOpenBlas;
  if (!moetrain::is_legal(way.library, at::kFloat)) {
    parallel::user_error("run.matrix_products = \"", run.matrix_products, "\" is not at hand (",
                         moetrain::library_facts(), "); legal: libtorch, measured");
  }
  moetrain::use_products({.otherwise = way});
}

std::string slow_precision(const RunConfig& run) {
  constexpr double kSlower = 1.1;
  if (run.precision != Precision::kBf16 || run.device != Device::kCpu) return {};
  const auto seconds_of = [](at::ScalarType type) {
    constexpr int64_t kSize = 256;
    const at::Tensor matrix = at::full({kSize, kSize}, 0.5, at::TensorOptions(type));
    at::Tensor out = at::empty_like(matrix);
    std::vector<double> taken;
    for (int repetition = 0; repetition < 6; ++repetition) {
      const auto begin = std::chrono::steady_clock::now();
      at::mm_out(out, matrix, matrix);
      const auto end = std::chrono::steady_clock::now();
      if (repetition > 0) taken.push_back(std::chrono::duration<double>(end - begin).count());
    }
    return *std::ranges::min_element(taken);
  };
  const double factor = seconds_of(at::kBFloat16) / seconds_of(at::kFloat);
  if (factor < kSlower) return {};
  return parallel::concat("warning: this processor multiplies bf16 matrices in ", std::round(10 * factor) / 10,
                          " times the time of float32 ones; run.precision = \"float32\" would be faster");
}

}  // namespace launch
