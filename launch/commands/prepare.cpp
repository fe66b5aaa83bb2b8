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
  options->chat_templates = invocation.registry->chat_templates;
  auto overwrite = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("prepare", "turn text into a token file");
  command->add_option("--text", options->text,
                      "text files, or patterns ('dir/**/*.txt'): plain, JSON lines, gzip of both");
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
  command->add_option("--tokenizer", options->tokenizer,
                      "sentencepiece, trained on the training split, byte, or a model's own: its folder, or its "
                      "tokenizer.json or tokenizer.model");
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
  command->add_option("--threads", options->threads, "0: one per core")->check(whole_number_between(0, 1024));
  command->callback([options, overwrite, language, heldout] {
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
    if (*overwrite) options->overwrite = data::Overwrite::kReplace;
    options->progress = [](const std::string& phase) { std::printf("%s\n", parallel::printable(phase).c_str()); };
    run_once([&] { std::printf("%s", data::to_text(data::prepare(*options)).c_str()); });
  });
}

}  // namespace launch
