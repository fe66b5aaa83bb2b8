#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/checkpoint/checkpoint.h"
#include "launch/commands/bench/parts.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/models/model_builder.h"
#include "launch/ranks/same_start.h"
#include "launch/runs/clock.h"
#include "launch/training/setup.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/links/line_fit.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

struct BenchSaveArguments {
  std::string recipe, folder;
  std::vector<std::string> overrides;
  int64_t rounds = 3;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

/// Of so many bytes that are just written, and flushed: what the disk takes without us.
double plain_seconds(const fs::path& path, int64_t bytes) {
  const std::vector<char> piece(32 << 20, 'x');
  const auto began = std::chrono::steady_clock::now();
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  bool written = file >= 0;
  for (int64_t left = bytes; written && left > 0;) {
    const ssize_t now = ::write(file, piece.data(), static_cast<size_t>(std::min<int64_t>(left, std::ssize(piece))));
    written = now > 0;
    left -= now;
  }
  written = written && ::fsync(file) == 0;
  if (file >= 0) ::close(file);
  const double seconds = seconds_since(began);
  fs::remove(path);
  if (!written) parallel::user_error(path.string(), ": cannot be written");
  return seconds;
}

int bench_save(const BenchSaveArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  const Recipe recipe = read_same_recipe(arguments.recipe, arguments.overrides, arguments.registry, *world,
                                         {{"--rounds", std::to_string(arguments.rounds)}});
  at::Device device(at::kCPU);
  parallel::all_ranks(*world, [&] {
    if (!fs::is_directory(arguments.folder)) {
      parallel::user_error("--folder ", arguments.folder,
                           ": is no folder; legal: one that exists, on the disk in question");
    }
    device = open_device(recipe.run.device, *world);
  });
  TrainingSetup setup(recipe, make_groups(world, device, recipe.run.checks, recipe.mesh), device);
  setup.build();
  const TrainState& state = setup.state;
  const fs::path path = fs::path(arguments.folder) / "moetrain_bench_save.h5";
  std::vector<double> saved, plain;
  int64_t bytes = 0;
  for (int64_t round = 0; round < arguments.rounds; ++round) {
    const auto began = std::chrono::steady_clock::now();
    bytes = write_checkpoint(path, {.vocabulary = setup.vocabulary(), .recipe = "", .plan = ""},
                             training_tensors(*state.model, *state.reducer, *state.optimizer, *setup.groups.mesh),
                             *setup.groups.control);
    saved.push_back(seconds_since(began));
    parallel::all_ranks(*world, [&] {
      if (world->rank() != 0) return;
      fs::remove(path);
      plain.push_back(plain_seconds(path, bytes));
    });
  }
  if (world->rank() != 0) return kDone;
  const nlohmann::ordered_json line = {{"bench", "save"},
                                       {"ranks", world->size()},
                                       {"bytes", bytes},
                                       {"seconds", parallel::median(saved)},
                                       {"seconds_rounds", saved},
                                       {"bytes_per_second", static_cast<double>(bytes) / parallel::median(saved)},
                                       {"plain_write_seconds", parallel::median(plain)},
                                       {"share_of_plain_write", parallel::median(plain) / parallel::median(saved)}};
  std::printf("%s\n", line.dump().c_str());
  return kDone;
}

}  // namespace

void add_bench_save(CLI::App& bench, Invocation& invocation) {
  auto arguments = std::make_shared<BenchSaveArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = bench.add_subcommand(
      "save", "what a checkpoint of a recipe takes on all ranks, beside a plain write of its size by one; JSON");
  command->add_option("recipe", arguments->recipe, "TOML recipe")->required();
  add_overrides(*command, arguments->overrides);
  command->add_option("--folder", arguments->folder, "where it is written, and taken away again")->required();
  command->add_option("--rounds", arguments->rounds, "of which the median counts")
      ->check(whole_number_between(1, 1000));
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &invocation] {
    invocation.exit_code = run_job(
        {"bench save", arguments->start_limit},
        [&](std::shared_ptr<parallel::MpiCommunicator> world) { return bench_save(*arguments, std::move(world)); });
  });
}

}  // namespace launch
