#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launch/commands/bench/parts.h"
#include "launch/commands/job.h"
#include "launch/commands/options/number_option.h"
#include "launch/models/trained_model.h"
#include "launch/ranks/read_speed.h"
#include "moetrain/decoding/sampler.h"
#include "parallel/base/random.h"
#include "parallel/links/line_fit.h"

namespace launch {
namespace {

struct BenchGenerateArguments {
  std::string run, update;
  std::vector<int64_t> batches = {1, 8};
  int64_t prompt_tokens = 32, tokens = 64, rounds = 5, threads = 0;
  std::shared_ptr<const Registry> registry;
};

/// Bytes of weights that a step reads for so many tokens: all but the rows of an embedding that is no head, and of the
/// dispatched experts those that an even routing would choose.
double step_bytes(const moetrain::DecoderLm& model, int64_t batch) {
  double bytes = 0;
  for (const auto& parameter : model.named_parameters()) {
    const bool looked_up = (parameter.key() == "embedding.weight" && !model.config().tie_embeddings) ||
                           parameter.key() == "pre_gate.embedding";
    if (!looked_up) bytes += static_cast<double>(parameter.value().nbytes());
  }
  const double width = static_cast<double>(model.parameters().front().element_size());
  for (const auto& module : model.modules(/*include_self=*/false)) {
    const auto* layer = dynamic_cast<const moetrain::RoutedLayer*>(module.get());
    if (layer != nullptr) bytes -= width * layer->unread_parameters(batch);
  }
  return bytes;
}

std::vector<std::vector<int64_t>> random_prompts(int64_t batch, int64_t tokens, int64_t vocabulary) {
  const parallel::RandomStream stream(1, "prompts of a bench");
  std::vector<std::vector<int64_t>> prompts(static_cast<size_t>(batch));
  int64_t drawn = 0;
  for (std::vector<int64_t>& prompt : prompts) {
    for (int64_t i = 0; i < tokens; ++i) prompt.push_back(stream.below(drawn++, vocabulary));
  }
  return prompts;
}

/// A line of JSON for each batch. Prompts alone are taken off, so that what is left are steps of a token each.
void bench_generate(const BenchGenerateArguments& arguments) {
  const TrainedModel trained = load_whole_model(arguments.run, "", arguments.registry, arguments.update);
  auto& model = model_as<moetrain::DecoderLm>(trained, "\"decoder_lm\"");
  use_compute_threads(arguments.threads);
  for (const int64_t batch : arguments.batches) {
    const auto prompts = random_prompts(batch, arguments.prompt_tokens, model.vocabulary());
    moetrain::SamplingOptions options{.tokens = arguments.tokens, .temperature = 0, .batch = batch};
    moetrain::SamplingOptions first = options;
    first.tokens = 1;
    moetrain::generate(model, prompts, options);  // warms up
    std::vector<double> prompt, step, step_cpu;
    ReadSpeed best;  // of what was seen between the rounds
    for (int64_t round = 0; round < arguments.rounds; ++round) {
      const Stopwatch of_first;
      moetrain::generate(model, prompts, first);
      const double wall = of_first.seconds(), cpu = of_first.cpu_seconds();
      const Stopwatch of_all;
      moetrain::generate(model, prompts, options);
      const auto steps = static_cast<double>(options.tokens - 1);
      prompt.push_back(wall);
      step.push_back((of_all.seconds() - wall) / steps);
      step_cpu.push_back((of_all.cpu_seconds() - cpu) / steps);
      const ReadSpeed seen = memory_read_speed();
      best = {std::max(best.by_clock, seen.by_clock), std::max(best.by_cpu, seen.by_cpu)};
    }
    const double bytes = step_bytes(model, batch);
    nlohmann::ordered_json line = {
        {"bench", "generate"},
        {"batch", batch},
        {"threads", at::get_num_threads()},
        {"prompt_tokens", arguments.prompt_tokens},
        {"tokens", arguments.tokens},
        {"prompts_seconds", parallel::median(prompt)},
        {"step_seconds", parallel::median(step)},
        {"step_seconds_rounds", step},
        {"tokens_per_second", static_cast<double>(batch) / parallel::median(step)},
        {"step_bytes", bytes},
        {"read_bytes_per_second", best.by_clock},
        {"share_of_read_speed", bytes / parallel::median(step) / best.by_clock},
    };
    if (at::get_num_threads() == 1) {  // what a busy machine does not change
      line["step_cpu_seconds"] = parallel::median(step_cpu);
      line["share_of_read_speed_by_cpu"] = bytes / parallel::median(step_cpu) / best.by_cpu;
    }
    std::printf("%s\n", line.dump().c_str());
  }
}

}  // namespace

void add_bench_generate(CLI::App& bench, Invocation& invocation) {
  auto arguments = std::make_shared<BenchGenerateArguments>();
  arguments->registry = invocation.registry;
  CLI::App* command = bench.add_subcommand(
      "generate", "tokens a second of a run's decoder, and its share of the speed at which memory is read; JSON lines");
  command->add_option("run", arguments->run, "run folder")->required();
  add_update_option(*command, arguments->update);
  command->add_option("--batch", arguments->batches, "prompts that are continued together, one line each")
      ->delimiter(',')
      ->check(whole_number_between(1, 4096));
  command->add_option("--prompt-tokens", arguments->prompt_tokens, "of each prompt")
      ->check(whole_number_between(1, int64_t{1} << 20));
  command->add_option("--tokens", arguments->tokens, "that are added to each")
      ->check(whole_number_between(2, int64_t{1} << 20));
  command->add_option("--rounds", arguments->rounds, "of which the median counts")
      ->check(whole_number_between(1, 1000));
  add_compute_threads(*command, arguments->threads);
  command->callback([arguments] { run_once([&] { bench_generate(*arguments); }); });
}

}  // namespace launch
