#include "launch/planning/bench.h"

#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/planning/overlap.h"
#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "launch/training/same_start.h"
#include "launch/training/train_state.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

struct BenchArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  BenchOptions options{.schedules = {"sequential", "tutel", "planned"}};
  bool json = false;
  double start_limit = JobStart{}.limit;
};

int run_bench(const BenchArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  Recipe recipe;
  at::Device device(at::kCPU);
  parallel::all_ranks(*world, [&] {
    recipe = read_recipe(arguments.recipe, arguments.overrides);
    check_rules(recipe);
    parallel::mesh_shape(recipe.mesh, world->size());
    if (recipe.objective.kind == "distillation") {
      parallel::user_error("bench runs no teacher; legal: an objective.kind other than \"distillation\"");
    }
    for (const std::string& schedule : arguments.options.schedules) check_schedule_name(schedule);
    device = open_device(recipe.run.device, *world);
  });
  require_same(*world, facts_of(recipe));
  at::set_num_threads(static_cast<int>(recipe.run.threads));
  const Groups groups = make_groups(world, device, recipe.run.checks, recipe.mesh);
  std::unique_ptr<data::TokenCorpus> corpus;
  std::unique_ptr<TrainingBatches> reader;
  parallel::all_ranks(*groups.control, [&] {
    corpus = std::make_unique<data::TokenCorpus>(data::TokenCorpus::open(recipe.data.file, data::Verify::kIndexOnly));
    reader = make_training_batches(*corpus, recipe, groups.shard);
  });
  TrainState state = make_train_state(recipe, corpus->tokenizer().vocabulary_size(), device, groups.mesh, nullptr,
                                      parallel::to_updates(recipe.train.length, reader->scale()), reader->scale());
  std::vector<MicroBatch> batches;
  at::Tensor targets = at::zeros({1}, at::kLong);
  for (const MicroBatch& batch : reader->read(0)) {
    targets += counted_targets(batch, *groups.mesh);
    batches.push_back(to_device(batch, device));
  }
  groups.control->all_reduce(targets, parallel::ReduceOp::kSum).wait();
  const std::string machine =
      describe_machine(recipe.run.device, recipe.run.precision, recipe.run.threads, *groups.mesh);
  const BenchResult result = bench(state, batches, targets.item<int64_t>(), groups, machine, arguments.options);
  if (world->rank() == 0) {
    std::printf("%s\n", arguments.json ? bench_to_json(result).dump().c_str() : to_text(result).c_str());
  }
  return kDone;
}

}  // namespace

void add_bench_command(CLI::App& app, CommandResult& result) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "schedules of a recipe's update against each other, in turn");
  command->add_option("recipe", arguments->recipe, "TOML recipe")->required();
  command->add_option("--set", arguments->overrides, "section.key=value, over the recipe's; may be repeated")
      ->allow_extra_args(false);
  command
      ->add_option("--schedules", arguments->options.schedules,
                   "as overlap.schedule names them, and fixed:N; the first is what the others are held against")
      ->delimiter(',');
  command->add_option("--rounds", arguments->options.rounds, "counted updates of each")->check(CLI::Range(1, 100000));
  command->add_option("--profile-seconds", arguments->options.profile_seconds, "what measuring these ranks may take")
      ->check(CLI::Range(0.1, 3600.0));
  command->add_flag("--json", arguments->json, "print JSON");
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &result] {
    result.exit_code = run_job(
        {"bench", arguments->start_limit},
        [&](std::shared_ptr<parallel::MpiCommunicator> world) { return run_bench(*arguments, std::move(world)); });
  });
}

}  // namespace launch
