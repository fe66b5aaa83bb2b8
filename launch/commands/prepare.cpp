#include "data/prepare/prepare.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/training/progress.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"
#include "parallel/comm/agreement.h"
#include "parallel/process/launcher.h"

namespace launch {
namespace {

struct PrepareArguments {
  data::PrepareOptions options;
  bool overwrite = false;
  double start_limit = JobStart{}.limit;
};

/// What the first rank says of phases and of how far they are.
class PrepareDisplay {
 public:
  explicit PrepareDisplay(ProgressDisplay::Style style)
      : display_(style), bar_(style == ProgressDisplay::Style::kBar), interval_(bar_ ? 0.2 : 10) {}

  void say(const std::string& sentence) { display_.say(parallel::printable(sentence)); }
  /// A line now and then. data::prepare calls it from one thread at a time.
  void advance(const data::PrepareProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (phase_ != progress.phase) {
      phase_ = progress.phase;
      began_ = shown_ = now;
    }
    const bool over = bar_ && progress.done >= progress.total;
    if (!over && std::chrono::duration<double>(now - shown_).count() < interval_) return;
    shown_ = now;
    constexpr double kMegabyte = 1e6;
    display_.show(WorkLine{.what = phase_,
                           .done = progress.done,
                           .total = progress.total,
                           .unit = "MB",
                           .per_unit = kMegabyte,
                           .seconds = std::chrono::duration<double>(now - began_).count()});
  }

 private:
  ProgressDisplay display_;
  bool bar_;
  double interval_;  // [s]
  std::string phase_;
  std::chrono::steady_clock::time_point began_, shown_;
};

void prepare_on(const data::PrepareTeam& team, data::PrepareOptions options) {
  std::optional<PrepareDisplay> display;
  if (team.is_first()) {
    display.emplace(progress_style(parallel::under_launcher()));
    options.progress = [&](const std::string& phase) { display->say(phase); };
    options.advance = [&](const data::PrepareProgress& progress) { display->advance(progress); };
  }
  const data::PrepareSummary summary = data::prepare(options, team);
  if (!display) return;
  display.reset();  // its bar ends
  std::printf("%s", data::to_text(summary).c_str());
}

/// Alone without MPI: it then starts anywhere.
int prepare_job(const PrepareArguments& arguments) {
  if (!parallel::under_launcher()) {
    prepare_on({}, arguments.options);
    return kDone;
  }
  return run_job({"prepare", arguments.start_limit}, [&](std::shared_ptr<parallel::MpiCommunicator> world) {
    prepare_on({.shard = {world->rank(), world->size()},
                .together = [&](const auto& part) { parallel::all_ranks(*world, part); }},
               arguments.options);
    return kDone;
  });
}

}  // namespace

void add_prepare_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<PrepareArguments>();
  data::PrepareOptions* options = &arguments->options;
  options->tokenizers = invocation.registry->tokenizers;
  options->chat_templates = invocation.registry->chat_templates;
  CLI::App* command = app.add_subcommand("prepare", "turn text into a token file, alone or under mpirun");
  command->add_option("--text", options->text,
                      "text files, or patterns ('dir/**/*.txt'): plain, JSON lines, gzip and zstd of both");
  command->add_option("--man", options->man, "folders with manual pages");
  command->add_option("--images", options->images, "a folder with a folder of .png files for each class");
  command->add_option("--parallel", options->parallel,
                      "sets of files whose lines are translations of each other, en=train.en.gz,de=train.de.gz");
  command->add_option("--validation", options->validation, "sets of the same kind that are held out of training");
  command->add_option("--test", options->test, "sets of the same kind for the test after it");
  command->add_option("--output", options->output, "token file to write")->required();
  command->add_flag("--overwrite", arguments->overwrite, "replace an output that exists");
  const CLI::Option* language =
      command->add_option("--language", options->language, "group of text that does not say its own");
  const CLI::Option* field = command->add_option(
      "--field", options->field, "JSON lines: the member that is the text; a.b: the member b of the object a");
  command->add_option("--tokenizer", options->tokenizer,
                      "sentencepiece, trained on the training split, byte, a model's own: its folder, or its "
                      "tokenizer.json or tokenizer.model, or another token file, for that file's");
  command
      ->add_option("--chat-template", options->chat.name,
                   "what conversations in JSON lines (\"messages\", or \"prompt\" and \"completion\") are written by; "
                   "their answers alone are learned")
      ->check(CLI::IsMember(options->chat_templates.names()));
  command->add_option("--chat-system", options->chat.system,
                      "what the system says in a conversation that has no message of it");
  command->add_option("--vocabulary", options->vocabulary_size, "pieces of a vocabulary that is learnt")
      ->check(whole_number_between(260, int64_t{1} << 20));
  const CLI::Option* heldout = command->add_option("--heldout", options->heldout, "share of the text that is held out")
                                   ->check(number_between(0, 0.9));
  command->add_option("--threads", options->threads, "0: one per core, of a job the cores shared among its ranks")
      ->check(whole_number_between(0, 1024));
  add_start_limit(*command, arguments->start_limit);
  command->callback([arguments, options, &invocation, language, heldout, field] {
    const bool plain = !options->text.empty() || !options->man.empty();
    if (!plain && options->parallel.empty() && options->images.empty()) {
      parallel::user_error("prepare needs --text, --man, --parallel or --images");
    }
    if (!options->parallel.empty() && (plain || language->count() > 0 || heldout->count() > 0)) {
      parallel::user_error("--parallel names its languages and brings its own held-out text (--validation): ",
                           "--text, --man, --language and --heldout do not go with it");
    }
    if (options->chat.name.empty() && !options->chat.system.empty()) {
      parallel::user_error("--chat-system belongs to conversations, and no --chat-template says how to write them");
    }
    if (options->text.empty() && field->count() > 0) {
      parallel::user_error("--field says which member of JSON lines is the text, and goes with --text");
    }
    if (arguments->overwrite) options->overwrite = data::Overwrite::kReplace;
    invocation.exit_code = prepare_job(*arguments);
  });
}

}  // namespace launch
