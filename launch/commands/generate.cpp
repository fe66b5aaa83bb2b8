#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>

#include "data/tokenizers/control_pieces.h"
#include "launch/commands/commands.h"
#include "launch/commands/generate_images.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/run_text.h"
#include "launch/evaluation/translation.h"
#include "launch/interchange/tensors/json_object.h"
#include "launch/models/trained_model.h"
#include "launch/runs/start_point.h"
#include "moetrain/decoding/sampler.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

struct GenerateArguments {
  std::string run, update, prompt, translate_to, data_file;
  moetrain::SamplingOptions sampling;
  bool greedy = false;
  ImageArguments images;
  std::shared_ptr<const Registry> registry;
};

void require_language(const data::Tokenizer& tokenizer, const std::string& language) {
  const std::vector<std::string> known = data::tagged_languages(tokenizer);
  if (std::ranges::find(known, language) != known.end()) return;
  parallel::user_error("--translate-to ", language,
                       ": the run knows no such language; legal: ", parallel::list_names(known));
}

/// Languages may have a tag, as all of a token file have, and yet be none that the run translated into.
void note_untrained(const std::string& directions, const std::string& language) {
  std::istringstream items(directions);
  for (std::string item; std::getline(items, item, ',');) {
    if (item == "all" || item.ends_with("-*") || item.ends_with("-" + language)) return;
  }
  std::fprintf(
      stderr, "moetrain: note: data.directions = \"%s\" of training: the model was never taught to translate into %s\n",
      directions.c_str(), language.c_str());
}

/// All of it: a text may hold zero bytes.
void print_line(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
}

/// Line by line, as training saw sentences.
void translate_prompt(const TrainedModel& trained, const GenerateArguments& arguments) {
  auto& translator = model_as<moetrain::EncoderDecoder>(trained, "\"encoder_decoder\"");
  require_language(tokenizer_of(trained), arguments.translate_to);
  note_untrained(trained.recipe.data.directions, arguments.translate_to);
  const moetrain::BeamOptions options = beam_options(trained);
  for (size_t begin = 0; begin <= arguments.prompt.size();) {
    const size_t end = std::min(arguments.prompt.find('\n', begin), arguments.prompt.size());
    const std::string source = arguments.prompt.substr(begin, end - begin);
    const auto tokens = source_tokens(tokenizer_of(trained), source, arguments.translate_to);
    note_long_text(trained, "--prompt", static_cast<int64_t>(tokens.size()));
    print_line(one_line(translate_text(translator, tokenizer_of(trained), source, arguments.translate_to, options)));
    begin = end + 1;
    if (begin == arguments.prompt.size()) break;  // it ended with its last line
  }
}

/// What the tokens add to the prompt: a model's own tokenizer may give the first of a text no space, so both are one
/// text to it. Alone where the two run into each other (half a character of each).
std::string continuation(const data::Tokenizer& tokenizer, std::vector<int32_t> prompt,
                         const std::vector<int64_t>& tokens) {
  const std::string before = tokenizer.decode(prompt);
  prompt.insert(prompt.end(), tokens.begin(), tokens.end());
  const std::string whole = tokenizer.decode(prompt);
  return whole.starts_with(before) ? whole.substr(before.size()) : tokenizer.decode({tokens.begin(), tokens.end()});
}

/// The end of text, and what else ends one by the generation_config.json that an imported model came with.
std::vector<int64_t> end_tokens(const std::string& run, const data::Tokenizer& tokenizer) {
  std::vector<int64_t> ends = {tokenizer.end_of_text()};
  const std::map<std::string, std::string> files = came_with(run);
  const auto config = files.find("generation_config.json");
  if (config == files.end()) return ends;
  const interchange::Json json = interchange::parse_json_object(config->second, run + ": its generation_config.json");
  const auto listed = json.find("eos_token_id");
  if (listed == json.end()) return ends;
  for (const interchange::Json& token : listed->is_array() ? *listed : interchange::Json::array({*listed})) {
    if (token.is_number_integer()) ends.push_back(token.get<int64_t>());
  }
  return ends;
}

void continue_prompt(const TrainedModel& trained, const GenerateArguments& arguments) {
  auto& model = model_as<moetrain::DecoderLm>(trained, "\"decoder_lm\"; a translator takes --translate-to");
  const data::Tokenizer& tokenizer = tokenizer_of(trained);
  const std::vector<int32_t> encoded = tokenizer.encode(arguments.prompt);
  std::vector<int64_t> prompt(encoded.begin(), encoded.end());
  if (prompt.empty()) prompt.push_back(tokenizer.end_of_text());  // what precedes every document
  moetrain::SamplingOptions sampling = arguments.sampling;
  if (arguments.greedy) sampling.temperature = 0;
  sampling.end_tokens = end_tokens(arguments.run, tokenizer);
  sampling.vocabulary = tokenizer.vocabulary_size();
  const auto given = static_cast<int64_t>(prompt.size());
  given > trained.longest ? note_long_text(trained, "--prompt", given)
                          : note_long_text(trained, "--prompt with --tokens", given + sampling.tokens - 1);
  std::vector<int64_t> tokens = moetrain::generate(model, prompt, sampling);
  const bool ended = !tokens.empty() && std::ranges::count(sampling.end_tokens, tokens.back()) > 0;
  if (ended) tokens.pop_back();
  print_line(arguments.prompt + continuation(tokenizer, encoded, tokens));
}

void generate_text(const GenerateArguments& arguments) {
  const TrainedModel trained = load_whole_model(arguments.run, arguments.data_file, arguments.registry, arguments.update);
  if (trained.recipe.model_preset().reads == moetrain::Reads::kImages) {
    ImageArguments images = arguments.images;
    images.sampling.seed = arguments.sampling.seed;
    if (images.output.empty()) images.output = arguments.run + "/images.png";
    return generate_images(trained, images);
  }
  arguments.translate_to.empty() ? continue_prompt(trained, arguments) : translate_prompt(trained, arguments);
}

/// A line where an option that only sampling knows was given for nothing.
void note_unused(const CLI::App& command) {
  for (const char* name : {"--tokens", "--temperature", "--top-p", "--seed", "--greedy"}) {
    if (command.count(name) == 0) continue;
    std::fprintf(stderr,
                 "moetrain: note: %s is not used with --translate-to, which takes the best translation that "
                 "evaluate.beam finds\n",
                 name);
  }
}

}  // namespace

void add_generate_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<GenerateArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command =
      app.add_subcommand("generate", "continue a prompt, or draw images, with a run's checkpoint");
  moetrain::SamplingOptions& sampling = arguments->sampling;
  command->add_option("run", arguments->run, "run folder")->required();
  command->add_option("--prompt", arguments->prompt, "text to continue; empty: the start of a document");
  command->add_option("--translate-to", arguments->translate_to,
                      "translate the prompt, line by line, into this language instead");
  add_update_option(*command, arguments->update);
  add_data_file(*command, arguments->data_file);
  command->add_option("--tokens", sampling.tokens, "at most so many")->check(whole_number_between(1, int64_t{1} << 20));
  command->add_option("--temperature", sampling.temperature, "of the softmax; 0: greedy")
      ->check(number_between(0, 1e6));
  command->add_option("--top-p", sampling.top_p, "draw from the smallest set with this probability")
      ->check(number_between(1e-6, 1));
  command->add_option("--seed", sampling.seed, "of the draws")->check(whole_number_between(0));
  command->add_flag("--greedy", arguments->greedy, "always the most likely token");
  ImageArguments& images = arguments->images;
  command->add_option("--output", images.output, "of a diffusion model: the PNG to write; RUN/images.png");
  command->add_option("--class", images.wanted, "likewise: a class by number or name; each, where none is given");
  command->add_option("--count", images.count, "likewise: images of each class")->check(whole_number_between(1, 1024));
  command->add_option("--steps", images.sampling.steps, "likewise: from noise to image")
      ->check(whole_number_between(1, 100000));
  command->add_option("--guidance", images.sampling.guidance, "likewise: how strongly the class counts; 1: as learned")
      ->check(number_between(0, 100));
  command->callback([arguments, command] {
    run_once([&] {
      if (!arguments->translate_to.empty()) note_unused(*command);
      generate_text(*arguments);
    });
  });
}

}  // namespace launch
