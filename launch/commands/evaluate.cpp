#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/trained_model.h"
#include "launch/training/evaluation.h"
#include "launch/training/run_folder.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

struct EvaluateArguments {
  std::string run;
  std::string data_file;
};

void print(const Evaluation& result) {
  std::printf("%-12s %12s %12s %10s %14s\n", "group", "tokens", "bytes", "loss", "bits per byte");
  const auto line = [](const GroupScore& score) {
    std::printf("%-12s %12lld %12lld %10.4f %14.4f\n", score.name.c_str(), static_cast<long long>(score.tokens),
                static_cast<long long>(score.bytes), score.loss(), score.bits_per_byte());
  };
  for (const GroupScore& score : result.groups) line(score);
  line(result.overall);
}

int evaluate_run(const EvaluateArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  std::optional<TrainedModel> trained;
  const RunFolder folder{arguments.run};
  at::Device device(at::kCPU);
  std::string device_name;
  parallel::all_ranks(*world, [&] { device_name = read_run_recipe(folder).run.device; });
  parallel::all_ranks(*world, [&] { device = open_device(device_name, *world); });
  const int64_t update = newest_update(arguments.run, *world);
  parallel::all_ranks(*world,
                      [&] { trained = load_trained_model(arguments.run, update, arguments.data_file, device); });
  const Groups groups = make_groups(world, device);
  const Evaluation result = evaluate(
      *trained->model, trained->corpus,
      {.sequence_length = trained->recipe.data.sequence_length, .batch = trained->recipe.evaluate.batch}, groups);
  parallel::all_ranks(*world, [&] {
    if (world->rank() != 0) return;
    nlohmann::json json = to_json(result, /*with_routing=*/true);
    json["step"] = trained->info.update;
    write_file(folder.evaluation(), json.dump(1) + "\n");
    print(result);
  });
  return kDone;
}

}  // namespace

void add_evaluate_command(CLI::App& app, CommandResult& result) {
  auto arguments = std::make_shared<EvaluateArguments>();
  CLI::App* command = app.add_subcommand("evaluate", "held-out loss and bits per byte of a run's newest checkpoint");
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("--data", arguments->data_file, "token file with the same tokenizer, instead of the recipe's");
  command->callback([arguments, &result] {
    result.exit_code = run_job([&](auto world) { return evaluate_run(*arguments, std::move(world)); });
  });
}

}  // namespace launch
