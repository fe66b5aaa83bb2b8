#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/datasets/token_mixture.h"
#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/planning/plan_table.h"
#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "launch/runs/start_point.h"
#include "launch/stages/stage_plan.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

struct PlanArguments {
  std::string recipe, machine, stage;
  std::vector<std::string> overrides;
  int64_t hosts = 1, ranks_per_host = 0, vocabulary = 0;
  double imbalance = 1;
  bool search = false, json = false;
  std::shared_ptr<const Registry> registry;
};

int64_t vocabulary_of(const PlanArguments& arguments, const Recipe& recipe) {
  if (arguments.vocabulary > 0) return arguments.vocabulary;
  if (recipe.model.vocabulary > 0) return recipe.model.vocabulary;
  const std::string file = data::parse_token_files(recipe.data.file).front().path;  // they share a vocabulary
  if (!std::filesystem::exists(file)) {
    parallel::user_error("data.file = \"", file, "\" is not there, and only it knows the vocabulary; legal: ",
                         "--vocabulary with its number of tokens");
  }
  return data::TokenCorpus::open(file, data::Verify::kIndexOnly, recipe.registry->tokenizers)
      .tokenizer()
      .vocabulary_size();
}

PlanRequest request_of(const PlanArguments& arguments) {
  PlanRequest request{
      .recipe = read_recipe(arguments.recipe, arguments.overrides,
                            {.registry = arguments.registry, .start = recipe_of_start(arguments.registry)}),
      .machine = read_machine(arguments.machine)};
  check_rules(request.recipe);
  const int64_t most = request.machine.ranks_per_host;
  request.cluster = {arguments.hosts, arguments.ranks_per_host > 0 ? arguments.ranks_per_host : most};
  constexpr int64_t kMostRanks = 1 << 20;
  if (request.cluster.hosts < 1 || request.cluster.hosts > kMostRanks) {
    parallel::user_error("--hosts ", request.cluster.hosts, "; legal: 1 to ", kMostRanks);
  }
  if (arguments.ranks_per_host < 0 || request.cluster.ranks_per_host > most) {
    parallel::user_error("--ranks-per-host ", arguments.ranks_per_host, ", but a host of ", request.machine.place,
                         " has machine.ranks_per_host = ", most, "; legal: 1 to ", most);
  }
  if (request.cluster.ranks() > kMostRanks) {
    parallel::user_error("--hosts ", request.cluster.hosts, " of ", request.cluster.ranks_per_host, " are ",
                         request.cluster.ranks(), " ranks; legal: at most ", kMostRanks);
  }
  if (!(arguments.imbalance >= 1 && arguments.imbalance <= static_cast<double>(kMostRanks))) {
    parallel::user_error("--imbalance ", arguments.imbalance, "; legal: 1 (every rank has as many rows) to ",
                         kMostRanks);
  }
  constexpr int64_t kMostTokens = int64_t{1} << 31;  // what a token's number can be
  if (arguments.vocabulary < 0 || arguments.vocabulary > kMostTokens) {
    parallel::user_error("--vocabulary ", arguments.vocabulary, "; legal: 1 to ", kMostTokens);
  }
  request.imbalance = arguments.imbalance;
  const int64_t vocabulary = vocabulary_of(arguments, request.recipe);
  request.recipe = stage_alone(request.recipe, arguments.stage, vocabulary, request.cluster.ranks());
  request.vocabulary = std::max(vocabulary, request.recipe.model.vocabulary);  // surgery may have widened it
  return request;
}

void plan_recipe(const PlanArguments& arguments) {
  const PlanRequest request = request_of(arguments);
  if (arguments.search) {
    const LayoutSearch search =
        search_layouts(request.recipe, request.vocabulary, request.machine, request.cluster, request.imbalance);
    std::printf("%s", arguments.json ? (plan_report_json(request, nullptr, &search).dump(1) + "\n").c_str()
                                     : search_table(search).c_str());
    return;
  }
  const LayoutPlan plan =
      plan_layout(request.recipe, request.vocabulary, request.machine, request.cluster, request.imbalance);
  std::printf("%s", arguments.json ? (plan_report_json(request, &plan, nullptr).dump(1) + "\n").c_str()
                                   : plan_table(request, plan).c_str());
}

}  // namespace

void add_plan_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<PlanArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand(
      "plan", "what a recipe takes on a machine: groups, parameters, memory, bytes, time; needs neither it nor MPI");
  command->add_option("recipe", arguments->recipe, "TOML recipe")->required();
  command->add_option("--machine", arguments->machine, "machine file (recipes/machines)")->required();
  command->add_option("--hosts", arguments->hosts, "hosts of the job (1)");
  command->add_option("--ranks-per-host", arguments->ranks_per_host, "ranks of each (all that the machine has)");
  add_overrides(*command, arguments->overrides);
  add_stage_option(*command, arguments->stage);
  command->add_option("--vocabulary", arguments->vocabulary,
                      "tokens of the vocabulary, where data.file is not at hand");
  command->add_option("--imbalance", arguments->imbalance,
                      "rows of the busiest rank over the mean one's (1), for its memory and the time");
  command->add_flag("--search", arguments->search, "rank all legal layouts of these ranks by predicted time");
  command->add_flag("--json", arguments->json, "print everything as JSON");
  command->callback([arguments] { run_once([&] { plan_recipe(*arguments); }); });
}

}  // namespace launch
