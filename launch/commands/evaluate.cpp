#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/training/evaluation.h"
#include "launch/training/pair_batches.h"
#include "launch/training/run_folder.h"
#include "launch/training/trained_model.h"
#include "launch/training/translation.h"
#include "parallel/base/printable.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

struct EvaluateArguments {
  std::string run;
  std::string data_file;
  std::string split = "test";
  std::vector<std::string> overrides;
  int64_t average = 1;
  int64_t update = -1;
  double start_limit = JobStart{}.limit;
};

void print(const Evaluation& result) {
  std::printf("%-12s %12s %12s %10s %14s\n", "group", "tokens", "bytes", "loss", "bits per byte");
  const auto line = [](const GroupScore& score) {
    const std::string name = parallel::printable(score.name);
    if (score.tokens == 0) return void(std::printf("%-12s nothing is held out\n", name.c_str()));
    std::printf("%-12s %12lld %12lld %10.4f %14.4f\n", name.c_str(), static_cast<long long>(score.tokens),
                static_cast<long long>(score.bytes), score.loss(), score.bits_per_byte());
  };
  for (const GroupScore& score : result.groups) line(score);
  line(result.overall);
}

void print(const std::vector<TranslationScore>& scores) {
  std::printf("%-12s %12s %12s %12s %10s\n", "direction", "sentences", "BLEU", "BLEU lower", "chrF2");
  for (const TranslationScore& score : scores) {
    std::printf("%-12s %12lld %12.2f %12.2f %10.2f\n", score.direction.c_str(), static_cast<long long>(score.sentences),
                score.bleu, score.bleu_lowercase, score.chrf);
  }
}

/// Translations of a split's sentences; nothing where the model is no translator.
struct Translated {
  std::optional<data::ParallelText> text;
  std::vector<std::string> hypotheses;
  std::vector<TranslationScore> scores;
};

/// Opened before anything is computed, so that a split that is not there is not found out at the end.
std::optional<data::ParallelText> text_to_translate(const TrainedModel& trained, const std::string& split) {
  if (dynamic_cast<moetrain::EncoderDecoder*>(trained.model.get()) == nullptr) return {};
  const data::Split wanted = split == "test" ? data::Split::kTest : data::Split::kHeldOut;
  return data::ParallelText(trained.corpus, wanted, pair_selection(trained.recipe, wanted));
}

Translated translate_run(const TrainedModel& trained, std::optional<data::ParallelText> text, const Groups& groups) {
  Translated result{.text = std::move(text)};
  auto* model = dynamic_cast<moetrain::EncoderDecoder*>(trained.model.get());
  if (model == nullptr) return result;
  const EvaluateConfig& config = trained.recipe.evaluate;
  result.hypotheses = translate(*model, *result.text, beam_options(trained), config.batch, groups);
  result.scores = score_translations(*result.text, result.hypotheses);
  return result;
}

/// A line for each sentence, in the file's order, one file a direction.
void write_translations(const std::filesystem::path& folder, const Translated& translated) {
  std::filesystem::create_directories(folder);
  for (size_t d = 0; d < translated.text->directions().size(); ++d) {
    std::string lines;
    const data::IndexRange pairs = translated.text->pairs_of(static_cast<int32_t>(d));
    for (int64_t pair = pairs.begin; pair < pairs.end; ++pair) {
      std::string line = translated.hypotheses[static_cast<size_t>(pair)];
      std::ranges::replace(line, '\n', ' ');
      lines += line + "\n";
    }
    write_file(folder / (translated.text->directions()[d].name + ".txt"), lines);
  }
}

int evaluate_run(const EvaluateArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  std::optional<TrainedModel> trained;
  const RunFolder folder{arguments.run};
  at::Device device(at::kCPU);
  RunConfig run;
  parallel::all_ranks(*world, [&] { run = read_run_recipe(folder).run; });
  parallel::all_ranks(*world, [&] { device = open_device(run.device, *world); });
  const int64_t update = arguments.update >= 0 ? arguments.update : newest_update(arguments.run, *world);
  std::unique_ptr<HeldOutBatches> held_out;
  std::optional<data::ParallelText> text;
  const Groups groups = make_groups(world, device, run.checks);
  parallel::all_ranks(*world, [&] {
    trained = load_trained_model(arguments.run, update, device,
                                 {arguments.data_file, arguments.overrides, arguments.average});
    use_threads(*trained);
    held_out = make_held_out_batches(trained->corpus, trained->recipe, groups.shard);
    text = text_to_translate(*trained, arguments.split);
  });
  const Evaluation result = evaluate(*trained->model, *held_out, groups);
  const Translated translated = translate_run(*trained, std::move(text), groups);
  parallel::all_ranks(*world, [&] {
    if (world->rank() != 0) return;
    nlohmann::json json = to_json(result, /*with_routing=*/true);
    json["step"] = trained->info.update;
    print(result);
    if (translated.text) {
      json["translation"] = to_json(translated.scores);
      write_translations(folder.path / "translations", translated);
      print(translated.scores);
    }
    write_file(folder.evaluation(), json.dump(1) + "\n");
  });
  return kDone;
}

}  // namespace

void add_evaluate_command(CLI::App& app, CommandResult& result) {
  auto arguments = std::make_shared<EvaluateArguments>();
  CLI::App* command =
      app.add_subcommand("evaluate", "held-out loss of a run's newest checkpoint; BLEU and chrF of a translator");
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("--data", arguments->data_file, "token file with the same tokenizer, instead of the recipe's");
  command->add_option("--split", arguments->split, "translation: which sentences to translate")
      ->check(CLI::IsMember({"test", "validation"}));
  command->add_option("--update", arguments->update, "the checkpoint of this update instead of the newest")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--average", arguments->average, "mean of the weights of so many newest checkpoints")
      ->check(CLI::Range(1, 1000));
  command->add_option("--set", arguments->overrides, "section.key=value, over the run's; may be repeated")
      ->allow_extra_args(false);
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &result] {
    result.exit_code = run_job({"evaluate", arguments->start_limit},
                               [&](auto world) { return evaluate_run(*arguments, std::move(world)); });
  });
}

}  // namespace launch
