#include "launch/commands/bench/parts.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/bench/layer_bench.h"
#include "launch/bench/product_bench.h"
#include "launch/bench/step_bench.h"
#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/options/output_file.h"
#include "launch/ranks/processor.h"
#include "launch/ranks/same_start.h"
#include "launch/runs/build_id.h"
#include "launch/stages/stage_plan.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

using World = std::shared_ptr<parallel::MpiCommunicator>;

struct PartArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string stage;
  int64_t rounds = 15;
  bool no_limit = false;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

/// What all of them take.
std::shared_ptr<PartArguments> add_part(CLI::App& command, const Invocation& invocation) {
  auto arguments = std::make_shared<PartArguments>();
  arguments->registry = invocation.registry;
  command.add_option("recipe", arguments->recipe, "TOML recipe")->required();
  add_overrides(command, arguments->overrides);
  add_stage_option(command, arguments->stage);
  add_start_limit(command, arguments->start_limit);
  return arguments;
}

void add_rounds(CLI::App& command, PartArguments& arguments) {
  command.add_option("--rounds", arguments.rounds, "counted, after some that warm up")
      ->check(whole_number_between(1, 100000));
  command.add_flag("--no-limit", arguments.no_limit, "do not time the matrix products alone");
}

/// The recipe on all ranks, and what it runs on.
struct Opened {
  Recipe recipe;
  at::Device device{at::kCPU};
  Groups groups;
};

Opened open_part(const PartArguments& arguments, const World& world, const std::vector<StartFact>& others) {
  Opened opened;
  opened.recipe = read_same_recipe(arguments.recipe, arguments.overrides, arguments.registry, *world, others);
  parallel::all_ranks(*world, [&] {
    opened.recipe = stage_alone(opened.recipe, arguments.stage, /*vocabulary=*/0, world->size());
    opened.device = open_device(opened.recipe.run.device, *world);
    use_processor(opened.recipe.run);
  });
  const std::string slow = slow_precision(opened.recipe.run);
  if (world->rank() == 0 && !slow.empty()) std::fprintf(stderr, "moetrain: %s\n", slow.c_str());
  opened.groups = make_groups(world, opened.device, opened.recipe.run.checks, opened.recipe.mesh);
  return opened;
}

void print(const World& world, nlohmann::ordered_json line) {
  if (world->rank() != 0) return;
  line["build"] = build_id();
  std::printf("%s\n", line.dump().c_str());
}

using Body = std::function<int(const World& world)>;

void run_part(CLI::App& command, const std::shared_ptr<PartArguments>& arguments, Invocation& invocation,
              const std::string& name, const Body& body) {
  command.callback([arguments, &invocation, name, body] {
    invocation.exit_code = run_job({"bench " + name, arguments->start_limit}, [&](World world) { return body(world); });
  });
}

}  // namespace

void add_bench_layer(CLI::App& bench, Invocation& invocation) {
  CLI::App* command = bench.add_subcommand("layer", "its first layer of experts, forward and backward, as JSON lines");
  const auto arguments = add_part(*command, invocation);
  add_rounds(*command, *arguments);
  struct Own {
    std::vector<std::string> loads{"own"};
    std::string tensors;
  };
  auto own = std::make_shared<Own>();
  command
      ->add_option(
          "--loads", own->loads,
          "whom tokens choose: own, as the router has it; W0 even, W1 one expert half of all rows, W2 Zipf, W3 "
          "one rank's experts three quarters, W4 half of the experts nothing, W5 as W1 in turn, W6 even with "
          "bursts of W1")
      ->delimiter(',');
  command->add_option("--tensors", own->tensors, "writes what goes in and out of the first load, as safetensors");
  run_part(*command, arguments, invocation, "layer", [arguments, own](const World& world) {
    LayerBenchOptions options{.loads = {}, .rounds = arguments->rounds, .limit = !arguments->no_limit};
    const Opened opened = open_part(*arguments, world,
                                    {{"--rounds", std::to_string(arguments->rounds)},
                                     {"--loads", parallel::list_names(own->loads)},
                                     {"--no-limit", arguments->no_limit ? "given" : ""}});
    parallel::all_ranks(*world, [&] {
      for (const std::string& name : own->loads) options.loads.emplace_back(name);
      if (own->tensors.empty()) return;
      if (world->size() > 1) parallel::user_error("--tensors: a rank has its own tokens alone; legal: one rank");
      check_output_file("--tensors", own->tensors, {arguments->recipe});
      options.tensors = own->tensors;
    });
    for (auto& line : bench_layer(opened.recipe, opened.groups, opened.device, options)) print(world, std::move(line));
    return kDone;
  });
}

void add_bench_step(CLI::App& bench, Invocation& invocation) {
  CLI::App* command = bench.add_subcommand("step", "whole updates on its text, split into phases, as a JSON line");
  const auto arguments = add_part(*command, invocation);
  add_rounds(*command, *arguments);
  run_part(*command, arguments, invocation, "step", [arguments](const World& world) {
    Opened opened = open_part(
        *arguments, world,
        {{"--rounds", std::to_string(arguments->rounds)}, {"--no-limit", arguments->no_limit ? "given" : ""}});
    TrainingSetup setup(opened.recipe, std::move(opened.groups), opened.device);
    print(world, bench_step(setup, {.rounds = arguments->rounds, .limit = !arguments->no_limit}));
    return kDone;
  });
}

void add_bench_gemm(CLI::App& bench, Invocation& invocation) {
  CLI::App* command =
      bench.add_subcommand("gemm", "the matrix products of its experts by every library at hand, as JSON lines");
  const auto arguments = add_part(*command, invocation);
  run_part(*command, arguments, invocation, "gemm", [arguments](const World& world) {
    const Opened opened = open_part(*arguments, world, {});
    for (auto& line : bench_products(opened.recipe, opened.groups)) print(world, std::move(line));
    return kDone;
  });
}

}  // namespace launch
