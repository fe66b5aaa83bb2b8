#include "launch/bench/step_bench.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "launch/bench/product_limit.h"
#include "launch/bench/rounds.h"
#include "launch/training/product_choice.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/accelerator.h"
#include "parallel/memory/kept_memory.h"
#include "parallel/memory/resident_memory.h"

namespace launch {
namespace {

int64_t all_targets(const std::vector<MicroBatch>& batches, const Groups& groups) {
  at::Tensor targets = at::zeros({1}, at::kLong);
  for (const MicroBatch& batch : batches) targets += counted_targets(batch, *groups.mesh);
  groups.control->all_reduce(targets, parallel::ReduceOp::kSum).wait();
  return targets.item<int64_t>();
}

}  // namespace

nlohmann::ordered_json bench_step(TrainingSetup& setup, const StepBenchOptions& options) {
  const Groups& groups = setup.groups;
  const int64_t before = parallel::resident_bytes();
  setup.build();
  if (setup.recipe.run.matrix_products == MatrixProducts::kMeasured)
    moetrain::use_products(measured_rule(setup.recipe, setup.vocabulary(), *groups.control));
  std::vector<double> losses;
  int64_t update = 0;
  const auto step = [&] {
    const std::vector<MicroBatch> batches = setup.to_own_device(setup.batches->read(update));
    const StepReport report = train_step(setup.state, batches, all_targets(batches, groups), groups);
    losses.push_back(report.total_loss());
    parallel::wait_for_device(setup.device);
    ++update;
  };
  const ProductList products = recorded_products(step);
  step();  // warms up
  const int64_t most = parallel::most_resident_bytes();
  const auto* const kept = parallel::KeptMemory::installed();
  const auto use = kept == nullptr ? parallel::KeptMemory::Use{} : kept->use();
  std::optional<ProductLimit> limit;
  if (options.limit && !parallel::is_accelerator(setup.device)) limit.emplace(products);
  Rounds rounds;
  std::vector<double> alone, shares, processor_shares;
  for (int64_t round = 0; round < options.rounds; ++round) {
    rounds.time(step, /*counts=*/true);
    if (!limit) continue;
    const ProductLimit::Seconds taken = limit->run();
    alone.push_back(taken.wall);
    shares.push_back(taken.wall / rounds.seconds().back());
    processor_shares.push_back(taken.processor / rounds.processor().back());
  }
  const Recipe& recipe = setup.recipe;
  nlohmann::ordered_json line{{"bench", "step"},
                              {"tokens", setup.scale.tokens_per_update},
                              {"vocabulary", setup.vocabulary()},
                              {"precision", recipe.run.precision.name()},
                              {"threads", recipe.run.threads},
                              {"ranks", groups.control->size()}};
  line.update(rounds.to_json());
  at::Tensor slowest = at::full({1}, middle(rounds.seconds()).value, at::kDouble);
  groups.control->all_reduce(slowest, parallel::ReduceOp::kMax).wait();
  line["seconds_of_slowest_rank"] = slowest.item<double>();
  line["losses"] = losses;
  line["resident_before_bytes"] = before;
  line["resident_most_bytes"] = most;
  if (kept != nullptr) {
    line["tensors_most_bytes"] = use.most_in_use;
    line["held_most_bytes"] = use.most_held;
  }
  line["product_flops"] = flops(products);
  if (limit) {
    line["products_alone"] = to_json(middle(alone));
    line["share_of_products"] = to_json(middle(shares));
    line["processor_share_of_products"] = to_json(middle(processor_shares));
    line["fastest_ways"] = limit->ways();
  }
  return line;
}

}  // namespace launch
