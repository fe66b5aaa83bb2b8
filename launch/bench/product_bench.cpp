#include "launch/bench/product_bench.h"

#include <nlohmann/json.hpp>

#include "launch/training/product_choice.h"
#include "launch/training/setup.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {

std::vector<nlohmann::ordered_json> bench_products(const Recipe& recipe, const Groups& groups) {
  constexpr int64_t kVocabulary = 256;  // which no expert sees
  parallel::Communicator& control = *groups.control;
  std::vector<ProductsOfExperts> products;
  parallel::all_ranks(control, [&] {
    products = expert_products(recipe, workload_of(recipe, kVocabulary, control.size()));
    if (products.empty()) parallel::user_error("bench gemm: no layer of this recipe has matrices of experts");
    for (const auto& [shape, experts] : products) {
      const double numbers = static_cast<double>(shape.rows * (shape.in + shape.out) + shape.in * shape.out);
      const double needed = 4 * numbers * static_cast<double>(experts), there = physical_memory();
      if (needed > there) {
        parallel::user_error("bench gemm: ", experts, " experts with ", shape.rows, " rows each of ", shape.in, " and ",
                             shape.out, " numbers take ", needed / 1e9, " GB, and this host has ", there / 1e9,
                             " GB; make train.global_batch, moe.experts or moe.hidden smaller");
      }
    }
  });
  const std::vector<moetrain::ProductWay> ways = ways_of_all(control);
  const std::vector<moetrain::TimedWays> timed = measure_products(products, ways, control);
  const moetrain::ProductRule rule = moetrain::rule_of(timed, ways);
  const std::string machine = product_machine(recipe, control);
  std::vector<nlohmann::ordered_json> lines;
  for (size_t i = 0; i < timed.size(); ++i) {
    const moetrain::GroupedShape& shape = timed[i].shape;
    nlohmann::ordered_json seconds = nlohmann::ordered_json::object(), flops = nlohmann::ordered_json::object();
    for (size_t w = 0; w < ways.size(); ++w) seconds[ways[w].describe()] = timed[i].seconds[w];
    for (size_t w = 0; w < ways.size(); ++w)
      flops[ways[w].describe()] = 2e-9 * timed[i].multiply_adds() / timed[i].seconds[w];
    lines.push_back({{"bench", "gemm"},
                     {"machine", machine},
                     {"kind", shape.kind.name()},
                     {"in", shape.in},
                     {"out", shape.out},
                     {"rows", shape.rows},
                     {"experts", timed[i].experts},
                     {"threads", recipe.run.threads},
                     {"seconds", seconds},
                     {"gflops", flops},
                     {"taken", rule.entries[i].way.describe()}});
  }
  return lines;
}

}  // namespace launch
