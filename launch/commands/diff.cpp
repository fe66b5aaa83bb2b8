#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/interchange/tensors/safetensors.h"
#include "launch/runs/stored_weights.h"

namespace launch {
namespace {

struct DiffArguments {
  std::string first, second;
};

std::string described(const std::optional<StoredWeights::Tensor>& tensor) {
  return tensor ? tensor->dtype + " " + interchange::shape_text(tensor->shape) : "is not there";
}

/// Whether they are the same.
bool print_differences(const DiffArguments& arguments) {
  const std::unique_ptr<StoredWeights> first = open_stored_weights(arguments.first),
                                       second = open_stored_weights(arguments.second);
  const std::vector<Comparison> differences = compare(*first, *second);
  double largest = 0;
  for (const Comparison& each : differences) {
    std::printf("%-48s %s, %s", each.name.c_str(), described(each.first).c_str(), described(each.second).c_str());
    if (each.different > 0) {
      std::printf(": %lld elements differ, by %.3g at most", static_cast<long long>(each.different),
                  each.largest_difference);
    }
    std::printf("\n");
    largest = std::max(largest, each.largest_difference);
  }
  std::printf("%zu tensors and %zu; %zu differ, by %.3g at most\n", first->tensors().size(), second->tensors().size(),
              differences.size(), largest);
  return differences.empty();
}

}  // namespace

void add_diff_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<DiffArguments>();
  CLI::App* command = app.add_subcommand(
      "diff",
      "the weights of two runs, checkpoints or Hugging Face folders, tensor by tensor; exit code 1 where they differ");
  command->add_option("first", arguments->first, "run folder, checkpoint, or Hugging Face folder")->required();
  command->add_option("second", arguments->second, "likewise")->required();
  command->callback([arguments, &invocation] {
    run_once([&] { invocation.exit_code = print_differences(*arguments) ? kDone : kUserFault; });
  });
}

}  // namespace launch
