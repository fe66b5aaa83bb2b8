#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include "launch/batches/pair_batches.h"
#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/options/output_file.h"
#include "launch/commands/run_text.h"
#include "launch/evaluation/evaluation.h"
#include "launch/evaluation/translation.h"
#include "launch/models/trained_model.h"
#include "launch/ranks/processor.h"
#include "launch/recipe/writer.h"
#include "launch/records/record_json.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/stored_weights.h"
#include "launch/runs/token_file.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

struct EvaluateArguments {
  std::string run;
  std::string data_file;
  std::string split = "test";
  std::string record;
  std::vector<std::string> overrides;
  int64_t average = 1;
  std::string update;
  int64_t threads = 0;
  double start_limit = JobStart{}.limit;
  std::shared_ptr<const Registry> registry;
};

/// "-" where there is no such number; never hundreds of digits.
std::string number_text(double number, int decimals) {
  char text[40];
  if (!std::isfinite(number)) return "-";
  std::snprintf(text, sizeof(text), std::fabs(number) < 1e7 ? "%.*f" : "%.*e", decimals, number);
  return text;
}

void print(const Evaluation& result) {
  std::printf("%-12s %12s %12s %10s %14s %10s\n", "group", "targets", "bytes", "loss", "bits per byte", "accuracy");
  const auto line = [](const GroupScore& score) {
    const std::string name = parallel::printable(score.name);
    if (score.tokens == 0) return void(std::printf("%-12s nothing is held out\n", name.c_str()));
    std::printf("%-12s %12lld %12lld %10s %14s %10s\n", name.c_str(), static_cast<long long>(score.tokens),
                static_cast<long long>(score.bytes), number_text(score.loss(), 4).c_str(),
                number_text(score.bits_per_byte(), 4).c_str(), number_text(score.accuracy(), 4).c_str());
  };
  for (const GroupScore& score : result.groups) line(score);
  for (const GroupScore& source : result.sources) {  // of one group has been printed as that
    if (std::ranges::count(result.groups, source.name, &GroupScore::name) == 0) line(source);
  }
  line(result.overall);
}

void print(const std::vector<TranslationScore>& scores) {
  std::printf("%-12s %12s %12s %12s %10s\n", "direction", "sentences", "BLEU", "BLEU lower", "chrF2");
  for (const TranslationScore& score : scores) {
    std::printf("%-12s %12lld %12s %12s %10s\n", score.direction.c_str(), static_cast<long long>(score.sentences),
                number_text(score.bleu, 2).c_str(), number_text(score.bleu_lowercase, 2).c_str(),
                number_text(score.chrf, 2).c_str());
  }
}

/// Translations of a split's sentences; nothing where the model is no translator.
struct Translated {
  std::optional<data::ParallelText> text;
  std::vector<std::string> hypotheses;
  std::vector<TranslationScore> scores;
};

/// Opened before anything is computed, so that a split that is not there is not found out at the end.
std::optional<data::ParallelText> text_to_translate(const TrainedModel& trained, const data::TokenMixture& mixture,
                                                    const std::string& split) {
  if (dynamic_cast<moetrain::EncoderDecoder*>(trained.model.get()) == nullptr) return {};
  const data::Split wanted = split == "test" ? data::Split::kTest : data::Split::kHeldOut;
  return data::ParallelText(mixture.only("a translator"), wanted, pair_selection(trained.recipe, wanted));
}

Translated translate_run(const TrainedModel& trained, std::optional<data::ParallelText> text, const Groups& groups) {
  Translated result{.text = std::move(text)};
  auto* model = dynamic_cast<moetrain::EncoderDecoder*>(trained.model.get());
  if (model == nullptr) return result;
  const EvaluateConfig& config = trained.recipe.evaluate;
  result.hypotheses = translate(
      *model,
      {*result.text, config.batch, direction_tasks(*result.text, trained.recipe, data::AbsentTask::kPassedOver)},
      beam_options(trained), groups);
  result.scores = score_translations(*result.text, result.hypotheses);
  return result;
}

/// What is unlike training, a line each: another text than the run's under its name, sources of more tokens.
void note_differences(const TrainedModel& trained, const data::TokenMixture& mixture,
                      const std::optional<data::ParallelText>& text, const EvaluateArguments& arguments) {
  if (arguments.data_file.empty() && mixture.fingerprint() != trained.info.corpus) {
    std::fprintf(stderr, "moetrain: note: %s holds another text than the run was trained on\n",
                 trained.recipe.data.file.c_str());
  }
  int64_t longer = 0;
  for (int64_t pair = 0; text && pair < text->size(); ++pair)
    longer += text->pair(pair).source_length > trained.longest;
  if (longer > 0) {
    std::fprintf(stderr,
                 "moetrain: note: %lld of %lld sentences to translate have more tokens than data.longest = %lld of "
                 "training: the model never saw so long ones\n",
                 static_cast<long long>(longer), static_cast<long long>(text->size()),
                 static_cast<long long>(trained.longest));
  }
  if (trained.recipe.model_preset().reads == moetrain::Reads::kText) {
    note_long_text(trained, "data.sequence_length", trained.recipe.data.sequence_length);
  }
}

/// A loss that is no number is the model's: a run that diverged, or a precision that it does not fit into.
void require_finite(const Evaluation& result, const std::string& run, int64_t update) {
  if (result.overall.tokens == 0 || std::isfinite(result.overall.loss())) return;
  parallel::user_error("the held-out loss of ", run, " after update ", update, " is not a finite number: the run ",
                       "diverged; legal: --update with an earlier checkpoint, or a run with a smaller ",
                       "optimizer.learning_rate");
}

/// A line for each sentence, in the file's order, one file a direction.
void write_translations(const std::filesystem::path& folder, const Translated& translated) {
  std::filesystem::create_directories(folder);
  for (size_t d = 0; d < translated.text->directions().size(); ++d) {
    std::string lines;
    const data::IndexRange pairs = translated.text->pairs_of(static_cast<int32_t>(d));
    for (int64_t pair = pairs.begin; pair < pairs.end; ++pair) {
      lines += one_line(translated.hypotheses[static_cast<size_t>(pair)]) + "\n";
    }
    write_file(folder / (translated.text->directions()[d].name + ".txt"), lines);
  }
}

/// Of the checkpoint whose weights were recorded.
void write_record(const EvaluateArguments& arguments, const TrainedModel& trained, ExpertUse use) {
  use.run = arguments.run;
  use.update = trained.info.update;
  use.fingerprint = open_stored_weights(checkpoint_path(arguments.run, trained.info.update))->fingerprint();
  use.recipe_hash = hash_text(recipe_hash(trained.recipe));
  write_use(arguments.record, use);
}

/// Never over what it reads.
void check_record_file(const EvaluateArguments& arguments, int64_t update, const data::TokenMixture& mixture) {
  if (arguments.record.empty()) return;
  std::vector<std::filesystem::path> sources{RunFolder{arguments.run}.recipe(), checkpoint_path(arguments.run, update)};
  for (const auto& source : mixture.sources()) sources.emplace_back(source.file.path);
  check_output_file("--record", arguments.record, sources);
}

void check_record(const EvaluateArguments& arguments) {
  if (arguments.record.empty()) return;
  if (arguments.average > 1) {
    parallel::user_error("--record with --average ", arguments.average,
                         ": a recorded use is of one checkpoint's weights; legal: without --average, or `moetrain "
                         "transform --operation average` first");
  }
}

int evaluate_run(const EvaluateArguments& arguments, std::shared_ptr<parallel::MpiCommunicator> world) {
  std::optional<TrainedModel> trained;
  std::optional<data::TokenMixture> mixture;
  const RunFolder folder{arguments.run};
  at::Device device(at::kCPU);
  RunConfig run;
  parallel::all_ranks(*world, [&] { check_record(arguments); });
  parallel::all_ranks(*world, [&] { run = read_run_recipe(folder, {}, arguments.registry).run; });
  parallel::all_ranks(*world, [&] { device = open_device(run.device, *world); });
  const int64_t update = chosen_update(arguments.run, arguments.update, *world);
  std::unique_ptr<HeldOutBatches> held_out;
  std::optional<data::ParallelText> text;
  const Groups groups = make_groups(world, device, run.checks);
  parallel::all_ranks(*world, [&] {
    trained = load_trained_model(arguments.run, update, device,
                                 {arguments.data_file, arguments.overrides, arguments.average, arguments.registry});
    use_processor(trained->recipe.run);
    use_compute_threads(arguments.threads);
    mixture =
        open_token_file(arguments.run, trained->recipe, trained->info, arguments.data_file, data::Verify::kTokens);
    check_record_file(arguments, update, *mixture);
    Recipe scored = trained->recipe;
    if (!arguments.data_file.empty()) scored.data.file = arguments.data_file;  // what messages name
    held_out = make_held_out_batches(*mixture, scored, groups.shard);
    text = text_to_translate(*trained, *mixture, arguments.split);
    if (world->rank() == 0) note_differences(*trained, *mixture, text, arguments);
  });
  const auto objective = trained->recipe.objective_preset().make({trained->recipe.objective, /*teacher=*/nullptr});
  std::optional<UseRecorder> recorder;
  if (!arguments.record.empty()) {
    recorder.emplace(group_names(*held_out), trained->recipe.model_preset().stacks(trained->recipe.model));
  }
  const Evaluation result = evaluate(*trained->model, *objective, *held_out, groups, recorder ? &*recorder : nullptr);
  parallel::all_ranks(*world, [&] { require_finite(result, arguments.run, update); });
  if (recorder) {
    ExpertUse use = recorder->sums(*groups.control);
    parallel::all_ranks(*world, [&] {
      if (world->rank() == 0) write_record(arguments, *trained, std::move(use));
    });
  }
  const Translated translated = translate_run(*trained, std::move(text), groups);
  parallel::all_ranks(*world, [&] {
    if (world->rank() != 0) return;
    EvaluationFile file = file_of(result, trained->info.update);
    print(result);
    if (translated.text) {
      file.translation = records_of(translated.scores);
      write_translations(folder.path / "translations", translated);
      print(translated.scores);
    }
    // A group's name may be any bytes.
    write_file(folder.evaluation(),
               record_to_json(file).dump(1, ' ', false, RecordJson::error_handler_t::replace) + "\n");
  });
  return kDone;
}

}  // namespace

void add_evaluate_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<EvaluateArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command =
      app.add_subcommand("evaluate", "held-out loss of a run's checkpoint; BLEU and chrF of a translator");
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("--data", arguments->data_file, "token file with the same tokenizer, instead of the recipe's");
  command->add_option("--split", arguments->split, "translation: which sentences to translate")
      ->check(CLI::IsMember({"test", "validation"}));
  command->add_option(
      "--record", arguments->record,
      "file to write: who uses which expert, and how strongly, by group of text (moetrain inspect FILE)");
  add_update_option(*command, arguments->update);
  command->add_option("--average", arguments->average, "mean of the weights of so many newest checkpoints")
      ->check(whole_number_between(1, 1000));
  command->add_option("--set", arguments->overrides, "section.key=value, over the run's; may be repeated")
      ->allow_extra_args(false);
  add_compute_threads(*command, arguments->threads);
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, &invocation] {
    invocation.exit_code = run_job({"evaluate", arguments->start_limit},
                                   [&](auto world) { return evaluate_run(*arguments, std::move(world)); });
  });
}

}  // namespace launch
