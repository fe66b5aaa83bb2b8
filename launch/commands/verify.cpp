#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/runs/stored_weights.h"

namespace launch {

void add_verify_command(CLI::App& app, Invocation&) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "verify", "read all weights of a run, checkpoint or Hugging Face folder: checksums, shapes, finite numbers");
  command->add_option("path", *path, "run folder (its newest checkpoint), checkpoint, or Hugging Face folder")
      ->required();
  command->callback([path] {
    run_once([&] {
      const std::unique_ptr<StoredWeights> weights = open_stored_weights(*path);
      const WeightsCheck check = verify(*weights);
      std::printf(
          "%s: %lld tensors of %lld numbers, all finite, %s\n", path->c_str(), static_cast<long long>(check.tensors),
          static_cast<long long>(check.elements),
          weights->has_checksums() ? "all as written" : "without checksums that could tell if they are as written");
    });
  });
}

}  // namespace launch
