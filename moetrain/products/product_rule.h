// defines: ProductKind, GroupedShape, ProductRule, use_products, products_in_use, TimedWays, time_ways, rule_of: which
// way is taken for products of which size
#pragma once
#include <cstdint>
#include <vector>

#include "moetrain/products/product_way.h"

namespace moetrain {

/// Which of an expert matrix's three products: rows W, rows W^T, or its gradient rows^T rows.
enum class ProductKind { kForward, kInputGradient, kWeightGradient };
constexpr std::array<const char*, 3> names_of(ProductKind) { return {"forward", "input_gradient", "weight_gradient"}; }

/// The products of all experts that have rows, of matrices [in, out] each.
struct GroupedShape {
  parallel::Enum<ProductKind> kind = ProductKind::kForward;
  int64_t in = 0, out = 0;
  int64_t rows = 0;  // of one expert, the mean

  bool operator==(const GroupedShape&) const = default;
  double multiply_adds(int64_t experts) const {
    return static_cast<double>(in * out) * static_cast<double>(rows * experts);
  }
};

/// A way for each shape that somebody has looked at, and one for all others. A value: it is what a run stores.
struct ProductRule {
  struct Entry {
    GroupedShape shape;
    ProductWay way;
  };
  ProductWay otherwise = {};
  std::vector<Entry> entries = {};

  /// Of entries with the same kind and matrix the one whose rows are nearest, by their ratio.
  ProductWay way(const GroupedShape& shape) const;
};

/// All products of experts in this process go by `rule` from now on, as at::set_num_threads holds for all of it. While
/// nothing is multiplied.
void use_products(ProductRule rule);
const ProductRule& products_in_use();

/// [s] of each way, the middle of several rounds in which all take turns; each time with another number of rows, as
/// training has them, for what a library makes for one size does not serve the next.
struct TimedWays {
  GroupedShape shape;
  int64_t experts = 1;  // how many products
  std::vector<double> seconds;

  double multiply_adds() const { return shape.multiply_adds(experts); }
};
TimedWays time_ways(const GroupedShape& shape, int64_t experts, const std::vector<ProductWay>& ways, double seconds);

/// The fastest way for each shape; LibTorch's own, which is the first of the ways, where none gains kWorthwhile.
constexpr double kWorthwhile = 0.03;
ProductRule rule_of(const std::vector<TimedWays>& timed, const std::vector<ProductWay>& ways);

}  // namespace moetrain
