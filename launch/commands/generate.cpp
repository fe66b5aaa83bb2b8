#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/job.h"
#include "launch/training/trained_model.h"
#include "launch/training/translation.h"
#include "moetrain/decoding/sampler.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

struct GenerateArguments {
  std::string run, prompt, translate_to;
  moetrain::SamplingOptions sampling;
  bool greedy = false;
};

void require_language(const data::TokenCorpus& corpus, const std::string& language) {
  const std::vector<std::string>& known = corpus.groups();
  if (std::ranges::find(known, language) != known.end()) return;
  parallel::user_error("--translate-to ", language,
                       ": the run's token file knows no such language; legal: ", parallel::list_names(known));
}

void generate_text(const GenerateArguments& arguments) {
  const TrainedModel trained = load_newest_model(arguments.run);
  if (!arguments.translate_to.empty()) {
    auto& translator = model_as<moetrain::EncoderDecoder>(trained, "\"encoder_decoder\"");
    require_language(trained.corpus, arguments.translate_to);
    std::printf("%s\n", translate_text(translator, trained.corpus.tokenizer(), arguments.prompt, arguments.translate_to,
                                       beam_options(trained))
                            .c_str());
    return;
  }
  auto& model = model_as<moetrain::DecoderLm>(trained, "\"decoder_lm\"; a translator takes --translate-to");
  const data::Tokenizer& tokenizer = trained.corpus.tokenizer();
  const std::vector<int32_t> encoded = tokenizer.encode(arguments.prompt);
  std::vector<int64_t> prompt(encoded.begin(), encoded.end());
  if (prompt.empty()) prompt.push_back(tokenizer.end_of_text());  // what precedes every document
  moetrain::SamplingOptions sampling = arguments.sampling;
  if (arguments.greedy) sampling.temperature = 0;
  sampling.end_token = tokenizer.end_of_text();
  std::vector<int64_t> tokens = moetrain::generate(model, prompt, sampling);
  if (!tokens.empty() && tokens.back() == tokenizer.end_of_text()) tokens.pop_back();
  std::printf("%s%s\n", arguments.prompt.c_str(), tokenizer.decode({tokens.begin(), tokens.end()}).c_str());
}

}  // namespace

void add_generate_command(CLI::App& app, CommandResult&) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "continue a prompt with a run's newest checkpoint");
  moetrain::SamplingOptions& sampling = arguments->sampling;
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("--prompt", arguments->prompt, "text to continue; empty: the start of a document");
  command->add_option("--translate-to", arguments->translate_to, "translate the prompt into this language instead");
  command->add_option("--tokens", sampling.tokens, "at most so many")->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command->add_option("--temperature", sampling.temperature, "of the softmax; 0: greedy")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--top-p", sampling.top_p, "draw from the smallest set with this probability")
      ->check(CLI::Range(1e-6, 1.0));
  command->add_option("--seed", sampling.seed, "of the draws");
  command->add_flag("--greedy", arguments->greedy, "always the most likely token");
  command->callback([arguments] { run_once([&] { generate_text(*arguments); }); });
}

}  // namespace launch
