#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/batches/batches.h"
#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/models/model_builder.h"
#include "launch/ranks/mesh_notes.h"
#include "launch/ranks/same_start.h"
#include "launch/recipe/keys.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "launch/runs/token_file.h"
#include "launch/training/stage_checks.h"
#include "launch/training/trainer.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/process/launcher.h"

namespace launch {
namespace {

using parallel::concat;

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  bool resume = false;
  bool dry_run = false;
  bool keys = false;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

/// The model's size and how the batch is spread.
std::string describe_part(const Recipe& recipe, const std::vector<int64_t>& hosts, data::Verify verify) {
  const auto ranks = static_cast<int64_t>(hosts.size());
  const auto corpus = data::TokenMixture::open(recipe.data.file, verify, recipe.registry->tokenizers);
  const parallel::SpanScale scale = make_training_batches(corpus, recipe, {.index = 0, .count = 1})->scale();
  check_lengths(recipe, scale);
  const auto model = build_model(recipe, model_vocabulary(recipe, corpus.tokenizer()), at::kMeta,
                                 std::make_shared<const parallel::Mesh>(recipe.mesh, ranks, 0));
  const moetrain::ParameterCount count = model->parameter_count();
  std::string text = concat("# parameters: ", count.total, ", active for a token: ", count.active);
  if (count.trained < count.total) text += concat(", trained: ", count.trained);
  const parallel::MeshShape mesh = parallel::mesh_shape(recipe.mesh, ranks);
  text += concat("\n# ", mesh.describe(), "\n");
  for (const std::string& note : mesh_notes(recipe, hosts, scale.tokens_per_update)) text += concat("# ", note, "\n");
  if (recipe.model_preset().reads == moetrain::Reads::kPairs) return text;  // an update's pairs are counted in tokens
  const int64_t micro = recipe.train.global_batch / recipe.train.micro_batches;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto own = data::split_range(micro, {.index = mesh.place(rank).data, .count = mesh.data});
    text +=
        concat("# rank ", rank, ": sequences [", own.begin, ", ", own.end, ") of each micro-batch of ", micro, "\n");
  }
  const int64_t idle = (mesh.data - micro) * mesh.tensor;
  if (idle > 0) text += concat("# warning: ", idle, " ranks have no sequence\n");
  return text;
}

/// What would run: the resolved recipe, and each of its stages.
void print_dry_run(const Recipe& recipe, at::Device device, const std::vector<int64_t>& hosts,
                   const parallel::Communicator& world) {
  std::vector<PlannedStage> stages = plan_stages(recipe, first_text(recipe), world.size());
  const bool staged = !stages.front().name.empty();
  if (staged) check_stages(stages, device, world);
  std::string text;
  for (const PlannedStage& stage : stages) {
    const std::string surgery = stage.surgery.any() ? stage.surgery.operation + ", then " : "";
    if (staged) text += concat("# stage ", stage.title, ": ", surgery, stage.updates, " updates\n");
    text += describe_part(stage.recipe, hosts, staged ? data::Verify::kIndexOnly : data::Verify::kTokens);
  }
  std::printf("%s\n%s", write_recipe(recipe).c_str(), text.c_str());
}

int train(const TrainArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world,
          const Interrupt& interrupt) {
  const Recipe recipe = read_same_recipe(arguments.recipe, arguments.overrides, arguments.registry, *world,
                                         {{"--resume", arguments.resume ? "given" : "not given"},
                                          {"--dry-run", arguments.dry_run ? "given" : "not given"}});
  at::Device device(at::kCPU);
  if (arguments.dry_run) {
    const std::vector<int64_t> hosts = world->host_leaders();
    parallel::all_ranks(*world, [&] {
      if (world->rank() == 0) print_dry_run(recipe, device, hosts, *world);
    });
    return kDone;
  }
  parallel::all_ranks(*world, [&] { device = open_device(recipe.run.device, *world); });
  Trainer trainer(recipe, make_groups(world, device, recipe.run.checks, recipe.mesh), device, interrupt,
                  {.resume = arguments.resume, .progress = progress_style(parallel::under_launcher())});
  return trainer.run() == Trainer::End::kDone ? kDone : kInterrupted;
}

}  // namespace

void add_train_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<TrainArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand("train", "train a recipe, alone or under mpirun");
  auto* recipe = command->add_option("recipe", arguments->recipe, "TOML recipe");
  add_overrides(*command, arguments->overrides);
  command->add_flag("--resume", arguments->resume,
                    "go on from the newest checkpoint of the run folder, if there is one");
  command->add_flag("--dry-run", arguments->dry_run, "check the recipe and print what would run");
  add_start_limit(*command, arguments->start_limit);
  auto* keys = command->add_flag("--keys", arguments->keys, "print every key of a recipe and end");
  recipe->excludes(keys);
  command->callback([arguments, &invocation] {
    if (arguments->keys) return run_once([&] { std::printf("%s", describe_keys(arguments->registry).c_str()); });
    if (arguments->recipe.empty()) parallel::user_error("train needs a recipe: moetrain train recipes/quickstart.toml");
    const Interrupt interrupt(
        /*alone=*/!parallel::under_launcher());  // first of all: a signal during start-up counts, too
    invocation.exit_code = run_job({"train", arguments->start_limit},
                                   [&](auto world) { return train(*arguments, std::move(world), interrupt); });
  });
}

}  // namespace launch
