#include "moetrain/products/product_rule.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "parallel/base/processor_time.h"
#include "parallel/links/line_fit.h"

namespace moetrain {
namespace {

ProductRule& in_use() {
  static ProductRule rule;
  return rule;
}

/// Factor by which they differ, as a distance.
double apart(int64_t a, int64_t b) {
  return std::abs(
      std::log(static_cast<double>(std::max<int64_t>(1, a)) / static_cast<double>(std::max<int64_t>(1, b))));
}

/// [s] Of one thread what other processes on its core do not lengthen; several wait for each other, which counts as
/// work.
double fair_now() {
  if (at::get_num_threads() == 1) return parallel::processor_seconds();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Operands of the largest round, of which each takes its rows.
class Operands {
 public:
  Operands(const GroupedShape& shape, int64_t experts) : shape_(shape), experts_(experts) {
    const at::TensorOptions options(at::kFloat);
    const int64_t all = shape.rows * experts;
    in_ = at::full({all, shape.in}, 0.5, options);
    out_ = at::full({all, shape.out}, 0.25, options);
    matrices_ = at::full({experts, shape.in, shape.out}, 0.125, options);
  }

  std::vector<Product> products(int64_t rows) const {
    std::vector<Product> all;
    for (int64_t e = 0; e < experts_; ++e) {
      const at::Tensor in = in_.narrow(0, e * shape_.rows, rows), out = out_.narrow(0, e * shape_.rows, rows);
      const at::Tensor matrix = matrices_.select(0, e);
      if (shape_.kind == ProductKind::kForward) all.push_back({out, in, matrix});
      if (shape_.kind == ProductKind::kInputGradient) all.push_back({in, out, matrix.t()});
      if (shape_.kind == ProductKind::kWeightGradient) all.push_back({matrix, in.t(), out});
    }
    return all;
  }

 private:
  GroupedShape shape_;
  int64_t experts_;
  at::Tensor in_, out_, matrices_;
};

}  // namespace

ProductWay ProductRule::way(const GroupedShape& shape) const {
  const Entry* nearest = nullptr;
  for (const Entry& entry : entries) {
    if (entry.shape.kind != shape.kind || entry.shape.in != shape.in || entry.shape.out != shape.out) continue;
    if (nearest == nullptr || apart(entry.shape.rows, shape.rows) < apart(nearest->shape.rows, shape.rows))
      nearest = &entry;
  }
  return nearest == nullptr ? otherwise : nearest->way;
}

void use_products(ProductRule rule) { in_use() = std::move(rule); }

const ProductRule& products_in_use() { return in_use(); }

TimedWays time_ways(const GroupedShape& shape, int64_t experts, const std::vector<ProductWay>& ways, double seconds) {
  constexpr size_t kFewest = 5, kMost = 25;
  const at::NoGradGuard no_gradient;
  const Operands operands(shape, experts);
  std::vector<std::vector<double>> of_way(ways.size());
  double spent = 0;
  for (size_t round = 0; round < kMost && (round <= kFewest || spent < seconds); ++round) {
    const int64_t rows =
        std::max<int64_t>(1, shape.rows - static_cast<int64_t>(round) % std::max<int64_t>(1, shape.rows / 8));
    const std::vector<Product> products = operands.products(rows);
    for (size_t i = 0; i < ways.size(); ++i) {
      const double begin = fair_now();
      multiply_all(products, ways[i]);
      const double taken = fair_now() - begin;
      spent += taken;
      if (round > 0) of_way[i].push_back(taken * static_cast<double>(shape.rows) / static_cast<double>(rows));
    }
  }
  TimedWays timed{.shape = shape, .experts = experts, .seconds = {}};
  for (std::vector<double>& each : of_way) timed.seconds.push_back(parallel::median(each));
  return timed;
}

ProductRule rule_of(const std::vector<TimedWays>& timed, const std::vector<ProductWay>& ways) {
  ProductRule rule;
  for (const TimedWays& each : timed) {
    const auto fastest = std::ranges::min_element(each.seconds);
    const bool worthwhile = *fastest < (1 - kWorthwhile) * each.seconds.front();
    const auto chosen = worthwhile ? fastest - each.seconds.begin() : 0;
    rule.entries.push_back({each.shape, ways[static_cast<size_t>(chosen)]});
  }
  return rule;
}

}  // namespace moetrain
