#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/chat/encoded_chat.h"
#include "data/tokenizers/control_pieces.h"
#include "launch/commands/commands.h"
#include "launch/commands/generate_images.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/commands/options/prompts.h"
#include "launch/commands/run_text.h"
#include "launch/evaluation/translation.h"
#include "launch/interchange/tensors/json_object.h"
#include "launch/models/trained_model.h"
#include "launch/runs/run_chat.h"
#include "launch/runs/start_point.h"
#include "moetrain/decoding/sampler.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

struct GenerateArguments {
  std::string run, update, chat, translate_to, data_file, task;
  PromptOptions prompts;
  data::ChatForm form;  // of --chat; empty: the run's
  moetrain::SamplingOptions sampling;
  bool greedy = false;
  int64_t threads = 0;
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
std::string translate_prompt(const TrainedModel& trained, moetrain::EncoderDecoder& translator,
                             const std::string& prompt, const GenerateArguments& arguments) {
  std::string all;
  const moetrain::BeamOptions options = beam_options(trained);
  const int64_t task = chosen_task(trained.recipe, arguments.task);
  for (size_t begin = 0; begin <= prompt.size();) {
    const size_t end = std::min(prompt.find('\n', begin), prompt.size());
    const std::string source = prompt.substr(begin, end - begin);
    const auto tokens = source_tokens(tokenizer_of(trained), source, arguments.translate_to);
    note_long_text(trained, "--prompt", static_cast<int64_t>(tokens.size()));
    if (begin > 0) all += '\n';
    all += one_line(translate_text(translator, tokenizer_of(trained), {source, arguments.translate_to, task}, options));
    begin = end + 1;
    if (begin == prompt.size()) break;  // it ended with its last line
  }
  return all;
}

/// A text, or with JSON lines an object for each prompt.
void print_answer(const Prompts& prompts, size_t number, const std::string& text, bool after_prompt) {
  const std::string& prompt = prompts.texts[number];
  if (!prompts.json) return print_line(after_prompt ? prompt + text : text);
  const auto shown = nlohmann::ordered_json{{"prompt", prompt}, {"completion", text}};
  print_line(shown.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace));
}

void translate_prompts(const TrainedModel& trained, const GenerateArguments& arguments) {
  auto& translator = model_as<moetrain::EncoderDecoder>(trained, "\"encoder_decoder\"");
  require_language(tokenizer_of(trained), arguments.translate_to);
  note_untrained(trained.recipe.data.directions, arguments.translate_to);
  const Prompts prompts = read_prompts(arguments.prompts);
  for (size_t i = 0; i < prompts.texts.size(); ++i) {
    print_answer(prompts, i, translate_prompt(trained, translator, prompts.texts[i], arguments),
                 /*after_prompt=*/false);
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

/// What --temperature and the like say of a tokenizer's tokens.
moetrain::SamplingOptions sampling_options(const TrainedModel& trained, const GenerateArguments& arguments,
                                           const std::vector<int64_t>& ends) {
  const data::Tokenizer& tokenizer = tokenizer_of(trained);
  moetrain::SamplingOptions sampling = arguments.sampling;
  if (arguments.greedy) sampling.temperature = 0;
  sampling.task = chosen_task(trained.recipe, arguments.task);
  sampling.end_tokens = ends;
  sampling.vocabulary = tokenizer.vocabulary_size();
  return sampling;
}

std::vector<int64_t> without_end(std::vector<int64_t> tokens, const std::vector<int64_t>& ends) {
  if (!tokens.empty() && std::ranges::count(ends, tokens.back()) > 0) tokens.pop_back();
  return tokens;
}

using Texts = std::vector<std::string>;
using Encoded = std::vector<std::vector<int32_t>>;

/// Tells of the longest. `option`: what gave the prompts.
void note_long_prompts(const TrainedModel& trained, const Encoded& prompts, int64_t tokens, const std::string& option) {
  int64_t longest = 1;
  for (const std::vector<int32_t>& prompt : prompts) longest = std::max<int64_t>(longest, std::ssize(prompt));
  longest > trained.longest ? note_long_text(trained, option, longest)
                            : note_long_text(trained, option + " with --tokens", longest + tokens - 1);
}

/// Calls take(number of a prompt, what follows it without the token that ends it), so many prompts at a time as are
/// computed together.
void sample(const TrainedModel& trained, moetrain::DecoderLm& model, const Encoded& prompts,
            moetrain::SamplingOptions sampling,
            const std::function<void(size_t prompt, const std::vector<int64_t>& tokens)>& take) {
  for (size_t begin = 0; begin < prompts.size(); begin += static_cast<size_t>(sampling.batch)) {
    std::vector<std::vector<int64_t>> batch;
    for (size_t i = begin; i < std::min(begin + static_cast<size_t>(sampling.batch), prompts.size()); ++i) {
      batch.emplace_back(prompts[i].begin(), prompts[i].end());
      // What precedes every document.
      if (batch.back().empty()) batch.back().push_back(tokenizer_of(trained).end_of_text());
    }
    sampling.first_prompt = static_cast<int64_t>(begin);
    const std::vector<std::vector<int64_t>> answers = moetrain::generate(model, batch, sampling);
    for (size_t i = 0; i < answers.size(); ++i) take(begin + i, without_end(answers[i], sampling.end_tokens));
  }
}

/// What an imported encoder and decoder, which know no tags of languages, make of the prompts.
void answer_sources(const TrainedModel& trained, moetrain::EncoderDecoder& model, const GenerateArguments& arguments) {
  const data::Tokenizer& tokenizer = tokenizer_of(trained);
  const Prompts prompts = read_prompts(arguments.prompts);
  const std::vector<int64_t> ends = end_tokens(arguments.run, tokenizer);
  std::vector<std::vector<int64_t>> sources;
  for (const std::string& text : prompts.texts) {
    const std::vector<int32_t> encoded = tokenizer.encode(text);
    std::vector<int64_t>& source = sources.emplace_back(encoded.begin(), encoded.end());
    if (source.empty() || source.back() != tokenizer.end_of_text()) source.push_back(tokenizer.end_of_text());
  }
  const int64_t start = trained.recipe.model.start_token;
  const auto answers = moetrain::generate(model, sources, start >= 0 ? start : tokenizer.end_of_text(),
                                          sampling_options(trained, arguments, ends));
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::vector<int64_t> tokens = without_end(answers[i], ends);
    print_answer(prompts, i, tokenizer.decode({tokens.begin(), tokens.end()}), /*after_prompt=*/false);
  }
}

void continue_prompts(const TrainedModel& trained, const GenerateArguments& arguments) {
  auto* pairs = dynamic_cast<moetrain::EncoderDecoder*>(trained.model.get());
  if (pairs != nullptr && data::tagged_languages(tokenizer_of(trained)).empty()) {
    return answer_sources(trained, *pairs, arguments);
  }
  auto& model = model_as<moetrain::DecoderLm>(trained, "\"decoder_lm\"; a translator takes --translate-to");
  const data::Tokenizer& tokenizer = tokenizer_of(trained);
  const Prompts prompts = read_prompts(arguments.prompts);
  Encoded encoded;
  for (const std::string& text : prompts.texts) encoded.push_back(tokenizer.encode(text));
  const moetrain::SamplingOptions sampling = sampling_options(trained, arguments, end_tokens(arguments.run, tokenizer));
  note_long_prompts(trained, encoded, sampling.tokens, prompts.option);
  sample(trained, model, encoded, sampling, [&](size_t i, const std::vector<int64_t>& tokens) {
    print_answer(prompts, i, continuation(tokenizer, encoded[i], tokens), /*after_prompt=*/true);
  });
}

/// What conversations are written by: what the user says, else what the run was trained on.
data::ChatForm chat_form(const GenerateArguments& arguments) {
  if (!arguments.form.name.empty()) return arguments.form;
  std::optional<data::ChatForm> form = read_chat({arguments.run});
  if (!form) {
    parallel::user_error("--chat: ", arguments.run, " was not trained on conversations, so nothing says how to write ",
                         "one; legal: --chat-template with one of ",
                         parallel::list_names(arguments.registry->chat_templates.names()));
  }
  if (!arguments.form.system.empty()) form->system = arguments.form.system;
  return *form;
}

/// One answer, and nothing else.
void answer(const TrainedModel& trained, const GenerateArguments& arguments) {
  auto& model = model_as<moetrain::DecoderLm>(trained, "\"decoder_lm\"");
  const data::Tokenizer& tokenizer = tokenizer_of(trained);
  const data::ChatForm form = chat_form(arguments);
  const data::ChatTemplate& chat_template = arguments.registry->chat_templates.at(form.name);
  data::require_chat_controls(tokenizer, form, chat_template);
  const std::string end = tokenizer.piece(tokenizer.end_of_text()).text;
  const data::ChatText chat =
      data::write_chat(chat_template, form, {{"user", arguments.chat, false}}, end, /*ask=*/true, "--chat");
  const std::vector<int32_t> prompt = tokenizer.encode(chat.text, chat.controls);
  std::vector<int64_t> ends = end_tokens(arguments.run, tokenizer);
  ends.push_back(tokenizer.control(data::answer_end(chat_template, end)));
  const moetrain::SamplingOptions sampling = sampling_options(trained, arguments, ends);
  note_long_prompts(trained, {prompt}, sampling.tokens, "--chat");
  sample(trained, model, {prompt}, sampling,
         [&](size_t, const std::vector<int64_t>& tokens) { print_line(continuation(tokenizer, prompt, tokens)); });
}

void generate_text(const GenerateArguments& arguments) {
  const TrainedModel trained =
      load_whole_model(arguments.run, arguments.data_file, arguments.registry, arguments.update);
  use_compute_threads(arguments.threads);
  if (trained.recipe.model_preset().reads == moetrain::Reads::kImages) {
    ImageArguments images = arguments.images;
    images.sampling.seed = arguments.sampling.seed;
    if (images.output.empty()) images.output = arguments.run + "/images.png";
    return generate_images(trained, images);
  }
  if (!arguments.chat.empty()) return answer(trained, arguments);
  arguments.translate_to.empty() ? continue_prompts(trained, arguments) : translate_prompts(trained, arguments);
}

/// A line where an option that only sampling knows was given for nothing.
void note_unused(const CLI::App& command) {
  for (const char* name : {"--tokens", "--temperature", "--top-p", "--seed", "--greedy", "--batch"}) {
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
  CLI::App* command = app.add_subcommand("generate", "continue a prompt, or draw images, with a run's checkpoint");
  moetrain::SamplingOptions& sampling = arguments->sampling;
  command->add_option("run", arguments->run, "run folder")->required();
  add_prompt_options(*command, arguments->prompts);
  add_compute_threads(*command, arguments->threads);
  command->add_option("--batch", sampling.batch, "prompts that are continued together")
      ->check(whole_number_between(1, 4096));
  command->add_option("--chat", arguments->chat, "what a user says, to be answered, instead of a prompt");
  command
      ->add_option("--chat-template", arguments->form.name,
                   "with --chat: what conversations are written by, instead of what the run was trained on")
      ->check(CLI::IsMember(arguments->registry->chat_templates.names()));
  command->add_option("--chat-system", arguments->form.system, "with --chat: what the system says");
  command->add_option("--task", arguments->task, "which of tasks.names the text is of, where routers go by it");
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
      if (!arguments->chat.empty() && (arguments->prompts.given() || !arguments->translate_to.empty())) {
        parallel::user_error(
            "--chat goes with no --prompt, --prompts and --translate-to: its text is the user's message");
      }
      if (!arguments->translate_to.empty()) note_unused(*command);
      generate_text(*arguments);
    });
  });
}

}  // namespace launch
