#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/surgery/transformed_run.h"

namespace launch {
namespace {

struct TransformArguments {
  TransformOptions options;
  std::string in, out;
  std::vector<std::string> with;
  int64_t seed = 0;
  double start_limit = JobStart{}.limit;
};

int transform(const TransformArguments& arguments, parallel::Communicator& world) {
  const Transformed made = transform_run(arguments.options, world);
  if (world.rank() == 0) {
    std::printf(
        "%s: %s into %s: %.3f GB of weights, %lld parameters, %lld active per token; no optimizer state is carried: "
        "`moetrain train` starts from the weights with train.start = \"%s\"\n",
        arguments.options.operation.c_str(), arguments.in.c_str(), arguments.out.c_str(),
        static_cast<double>(made.bytes) / 1e9, static_cast<long long>(made.total), static_cast<long long>(made.active),
        arguments.out.c_str());
  }
  return kDone;
}

}  // namespace

void add_transform_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<TransformArguments>();
  arguments->options.registry = invocation.registry;
  CLI::App* command = app.add_subcommand(
      "transform", "change a model: experts copied, pruned, grown, put together; alone or under mpirun");
  command->add_option("in", arguments->in, "run folder, checkpoint, or Hugging Face folder")->required();
  command->add_option("out", arguments->out, "run folder to make")->required();
  command->add_option("--operation", arguments->options.operation, "what to do; listed below")->required();
  command->add_option("--set", arguments->options.settings, "key=value of the operation; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--with", arguments->with, "another parent, as IN; may be repeated")->allow_extra_args(false);
  CLI::Option* seed = command->add_option("--seed", arguments->seed, "of the draws; run.seed of OUT, else that of IN")
                          ->check(whole_number_between(0));
  add_start_limit(*command, arguments->start_limit);
  command->footer("Operations:\n" + describe_operations(arguments->options.registry->operations));
  command->callback([arguments, seed, &invocation] {
    arguments->options.in = arguments->in;
    arguments->options.out = arguments->out;
    arguments->options.with.assign(arguments->with.begin(), arguments->with.end());
    if (*seed) arguments->options.seed = arguments->seed;
    invocation.exit_code =
        run_job({"transform", arguments->start_limit}, [&](auto world) { return transform(*arguments, *world); });
  });
}

}  // namespace launch
