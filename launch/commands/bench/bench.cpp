#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/bench/schedule_bench.h"
#include "launch/commands/bench/parts.h"
#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/ranks/same_start.h"
#include "launch/stages/stage_plan.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

struct BenchArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string stage;
  BenchOptions options{.schedules = {"sequential", "tutel", "planned"}};
  bool json = false;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

int run_bench(const BenchArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  Recipe recipe = read_same_recipe(arguments.recipe, arguments.overrides, arguments.registry, *world,
                                   {{"--schedules", parallel::list_names(arguments.options.schedules)},
                                    {"--rounds", std::to_string(arguments.options.rounds)}});
  parallel::all_ranks(*world, [&] { recipe = stage_alone(recipe, arguments.stage, /*vocabulary=*/0, world->size()); });
  at::Device device(at::kCPU);
  parallel::all_ranks(*world, [&] {
    for (const std::string& schedule : arguments.options.schedules) check_schedule_name(schedule);
    device = open_device(recipe.run.device, *world);
  });
  TrainingSetup setup(recipe, make_groups(world, device, recipe.run.checks, recipe.mesh), device);
  setup.build();
  const BenchResult result = bench(setup, arguments.options);
  if (world->rank() == 0) {
    std::printf("%s\n", arguments.json ? bench_to_json(result).dump().c_str() : to_text(result).c_str());
  }
  return kDone;
}

}  // namespace

void add_bench_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<BenchArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command =
      app.add_subcommand("bench", "schedules of a recipe's update against each other, in turn; or one of its parts");
  command->add_option("recipe", arguments->recipe, "TOML recipe");
  add_overrides(*command, arguments->overrides);
  command
      ->add_option("--schedules", arguments->options.schedules,
                   "as overlap.schedule names them, and fixed:N; the first is what the others are held against")
      ->delimiter(',');
  command->add_option("--rounds", arguments->options.rounds, "counted updates of each")
      ->check(whole_number_between(1, 100000));
  add_stage_option(*command, arguments->stage);
  command->add_flag("--json", arguments->json, "print JSON");
  add_start_limit(*command, arguments->start_limit);
  command->require_subcommand(0, 1);
  add_bench_layer(*command, invocation);
  add_bench_step(*command, invocation);
  add_bench_gemm(*command, invocation);
  add_bench_generate(*command, invocation);
  add_bench_prepare(*command, invocation);
  add_bench_save(*command, invocation);
  command->callback([arguments, command, &invocation] {
    if (!command->get_subcommands().empty()) return;  // it has run
    if (arguments->recipe.empty()) throw CLI::RequiredError("recipe");
    invocation.exit_code = run_job(
        {"bench", arguments->start_limit},
        [&](std::shared_ptr<parallel::MpiCommunicator> world) { return run_bench(*arguments, std::move(world)); });
  });
}

}  // namespace launch
