#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/runs/imported_run.h"

namespace launch {
namespace {

struct ImportArguments {
  std::string folder, run;
  std::vector<std::string> ignored_keys;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

int import_folder(const ImportArguments& arguments, parallel::Communicator& world) {
  const int64_t bytes = import_run({.folder = arguments.folder,
                                    .run = arguments.run,
                                    .ignored_keys = arguments.ignored_keys,
                                    .registry = arguments.registry},
                                   world);
  if (world.rank() == 0) {
    std::printf(
        "imported %s into %s: %.3f GB of weights; `moetrain train` starts from them with train.start = \"%s\"\n",
        arguments.folder.c_str(), arguments.run.c_str(), static_cast<double>(bytes) / 1e9, arguments.run.c_str());
  }
  return kDone;
}

}  // namespace

void add_import_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<ImportArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = app.add_subcommand("import", "make a run folder of a Hugging Face folder, alone or under mpirun");
  command->add_option("folder", arguments->folder, "folder with config.json and safetensors files")->required();
  command->add_option("--run", arguments->run, "run folder to make")->required();
  command->add_option("--ignore", arguments->ignored_keys, "key of config.json that changes nothing; may be repeated")
      ->allow_extra_args(false);
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &invocation] {
    invocation.exit_code =
        run_job({"import", arguments->start_limit}, [&](auto world) { return import_folder(*arguments, *world); });
  });
}

}  // namespace launch
