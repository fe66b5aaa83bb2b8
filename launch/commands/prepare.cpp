#include "data/prepare/prepare.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"

namespace launch {

void add_prepare_command(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<data::PrepareOptions>();
  options->tokenizers = invocation.registry->tokenizers;
  auto overwrite = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("prepare", "turn text into a token file");
  command->add_option("--text", options->text,
                      "text files, or patterns ('dir/**/*.txt'): plain, JSON lines, gzip and zstd of both");
  command->add_option("--man", options->man, "folders with manual pages");
  command->add_option("--images", options->images, "a folder with a folder of .png files for each class");
  command->add_option("--parallel", options->parallel,
                      "sets of files whose lines are translations of each other, en=train.en.gz,de=train.de.gz");
  command->add_option("--validation", options->validation, "sets of the same kind that are held out of training");
  command->add_option("--test", options->test, "sets of the same kind for the test after it");
  command->add_option("--output", options->output, "token file to write")->required();
  command->add_flag("--overwrite", *overwrite, "replace an output that exists");
  const CLI::Option* language =
      command->add_option("--language", options->language, "group of text that does not say its own");
  const CLI::Option* field = command->add_option(
      "--field", options->field, "JSON lines: the member that is the text; a.b: the member b of the object a");
  command->add_option("--tokenizer", options->tokenizer,
                      "sentencepiece, trained on the training split, byte, a model's own: its folder, or its "
                      "tokenizer.json or tokenizer.model, or another token file, for that file's");
  command->add_option("--vocabulary", options->vocabulary_size, "pieces of a vocabulary that is learnt")
      ->check(whole_number_between(260, int64_t{1} << 20));
  const CLI::Option* heldout = command->add_option("--heldout", options->heldout, "share of the text that is held out")
                                   ->check(number_between(0, 0.9));
  command->add_option("--threads", options->threads, "0: one per core")->check(whole_number_between(0, 1024));
  command->callback([options, overwrite, language, heldout, field] {
    const bool plain = !options->text.empty() || !options->man.empty();
    if (!plain && options->parallel.empty() && options->images.empty()) {
      parallel::user_error("prepare needs --text, --man, --parallel or --images");
    }
    if (!options->parallel.empty() && (plain || language->count() > 0 || heldout->count() > 0)) {
      parallel::user_error("--parallel names its languages and brings its own held-out text (--validation): ",
                           "--text, --man, --language and --heldout do not go with it");
    }
    if (options->text.empty() && field->count() > 0) {
      parallel::user_error("--field says which member of JSON lines is the text, and goes with --text");
    }
    if (*overwrite) options->overwrite = data::Overwrite::kReplace;
    options->progress = [](const std::string& phase) { std::printf("%s\n", parallel::printable(phase).c_str()); };
    run_once([&] { std::printf("%s", data::to_text(data::prepare(*options)).c_str()); });
  });
}

}  // namespace launch
