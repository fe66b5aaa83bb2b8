// The matrix products that some work consists of, and how long those alone take.
// defines: ProductShape, ProductList, recorded_products, ProductLimit
#pragma once
#include <ATen/core/Tensor.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "moetrain/products/product_way.h"

namespace launch {

/// `batch` products [m, k] [k, n].
struct ProductShape {
  int64_t batch = 1, m = 0, k = 0, n = 0;
  bool left_transposed = false, right_transposed = false;  // in memory
  at::ScalarType type = at::kFloat;
  auto operator<=>(const ProductShape&) const = default;

  double multiply_adds() const {
    return static_cast<double>(batch * m) * static_cast<double>(k) * static_cast<double>(n);
  }
};

/// How often each is computed; half where a causal attention leaves half of it out.
using ProductList = std::map<ProductShape, double>;

/// Every matrix product that LibTorch is asked for while `work` runs on this thread, and its backward wherever that
/// runs; of experts too, which go by its own way meanwhile. Of a fused attention, LibTorch's or ours, those that it
/// consists of: two forward, five backward (Dao et al. 2022). One at a time in a process.
ProductList recorded_products(const std::function<void()>& work);

/// Multiplications and additions of all.
double flops(const ProductList& products);

/// The products alone, of this process's threads, each by the fastest of the libraries at hand, its operands in the
/// cache as it likes them: a bound for work that consists of them and leaves them to libraries. (Products of bf16 in
/// tiles, moetrain/products/tile_product.h, are moetrain's own and not tried: only they could pass it.)
class ProductLimit {
 public:
  /// Finds each one's fastest way. Operands of the largest product are there at once.
  explicit ProductLimit(const ProductList& products);

  /// Computes each product once: the time of all as often as they are in the list. [s], and [s] of the processor.
  struct Seconds {
    double wall = 0, processor = 0;
  };
  Seconds run() const;
  /// Multiply-adds by the way that does them best, as shares.
  nlohmann::ordered_json ways() const;

 private:
  struct Timed {
    ProductShape shape;
    double count = 1;
    moetrain::ProductWay way;
    bool summed = false;  // into float32
  };
  at::Tensor operand(const at::Tensor& numbers, int64_t batch, int64_t rows, int64_t columns, bool transposed) const;
  bool multiply(const Timed& product) const;  // whether there is that way

  std::vector<Timed> products_;
  std::map<at::ScalarType, std::array<at::Tensor, 3>> numbers_;  // left, right and out of each type
  at::Tensor sums_;                                              // of 16 bits
};

}  // namespace launch
