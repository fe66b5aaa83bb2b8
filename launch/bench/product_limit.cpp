#include "launch/bench/product_limit.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "parallel/base/processor_time.h"

namespace launch {
namespace {

template <class Action>
ProductLimit::Seconds timed(Action&& action) {
  const double processor = parallel::processor_seconds();
  const auto begin = std::chrono::steady_clock::now();
  action();
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return {wall, parallel::processor_seconds() - processor};
}

/// Of one thread what other processes on its core do not lengthen; several wait for each other, which counts as work.
double fair(const ProductLimit::Seconds& taken) { return at::get_num_threads() == 1 ? taken.processor : taken.wall; }

}  // namespace

double flops(const ProductList& products) {
  double all = 0;
  for (const auto& [shape, count] : products) all += 2 * count * shape.multiply_adds();
  return all;
}

ProductLimit::ProductLimit(const ProductList& products) {
  std::map<at::ScalarType, std::array<int64_t, 3>> largest;
  for (const auto& [shape, count] : products) {
    auto& sizes = largest[shape.type];
    sizes[0] = std::max(sizes[0], shape.batch * shape.m * shape.k);
    sizes[1] = std::max(sizes[1], shape.batch * shape.k * shape.n);
    sizes[2] = std::max(sizes[2], shape.batch * shape.m * shape.n);
  }
  for (const auto& [type, sizes] : largest) {
    for (size_t i = 0; i < sizes.size(); ++i) numbers_[type][i] = at::full({sizes[i]}, 0.5, at::TensorOptions(type));
  }
  // Sums over rows in 16 bits, gradients of weights, come in float32 from who makes them so.
  if (numbers_.contains(at::kBFloat16)) sums_ = at::full({largest.at(at::kBFloat16)[2]}, 0.5, at::kFloat);
  const std::vector<moetrain::ProductWay> of_float = moetrain::ways_at_hand();
  const std::vector<moetrain::ProductWay> of_bf16{{.library = moetrain::ProductLibrary::kOneDnn}};
  for (const auto& [shape, count] : products) {
    Timed fastest{shape, count, {}};
    double least = std::numeric_limits<double>::infinity();
    const bool low = shape.type == at::kBFloat16;
    const auto attempt = [&](const Timed& tried) {
      if (!multiply(tried)) return;
      double taken = std::numeric_limits<double>::infinity();
      for (int repetition = 0; repetition < 3; ++repetition)
        taken = std::min(taken, fair(timed([&] { multiply(tried); })));
      if (taken < least) least = taken, fastest = tried;
    };
    for (const moetrain::ProductWay& way : low ? of_bf16 : of_float) {
      if (!low && !(way == moetrain::ProductWay{}) && (shape.batch > 1 || shape.type != at::kFloat)) continue;
      attempt({shape, count, way});
    }
    if (low && shape.batch == 1 && shape.left_transposed) attempt({shape, count, {}, /*summed=*/true});
    products_.push_back(fastest);
  }
}

at::Tensor ProductLimit::operand(const at::Tensor& numbers, int64_t batch, int64_t rows, int64_t columns,
                                 bool transposed) const {
  const at::Tensor own = numbers.narrow(0, 0, batch * rows * columns);
  const at::Tensor all =
      transposed ? own.view({batch, columns, rows}).transpose(1, 2) : own.view({batch, rows, columns});
  return batch == 1 ? all.select(0, 0) : all;
}

bool ProductLimit::multiply(const Timed& product) const {
  const ProductShape& shape = product.shape;
  const auto& [left, right, out] = numbers_.at(shape.type);
  const at::Tensor a = operand(left, shape.batch, shape.m, shape.k, shape.left_transposed);
  const at::Tensor b = operand(right, shape.batch, shape.k, shape.n, shape.right_transposed);
  at::Tensor c = operand(product.summed ? sums_ : out, shape.batch, shape.m, shape.n, /*transposed=*/false);
  const at::NoGradGuard no_gradient;
  if (product.summed) return moetrain::multiply_wide(c, a, b);
  if (shape.batch == 1) {
    moetrain::multiply_all({{c, a, b}}, product.way);
  } else {
    at::bmm_out(c, a, b);
  }
  return true;
}

ProductLimit::Seconds ProductLimit::run() const {
  Seconds all;
  for (const Timed& product : products_) {
    const Seconds taken = timed([&] { multiply(product); });
    all.wall += product.count * taken.wall;
    all.processor += product.count * taken.processor;
  }
  return all;
}

nlohmann::ordered_json ProductLimit::ways() const {
  std::map<std::string, double> by_way;
  double all = 0;
  for (const Timed& product : products_) {
    const double own = product.count * product.shape.multiply_adds();
    by_way[product.way.describe()] += own;
    all += own;
  }
  nlohmann::ordered_json shares = nlohmann::ordered_json::object();
  for (const auto& [way, own] : by_way) shares[way] = own / all;
  return shares;
}

}  // namespace launch
