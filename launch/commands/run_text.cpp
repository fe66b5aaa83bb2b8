#include "launch/commands/run_text.h"

#include <CLI/CLI.hpp>
#include <cstdio>

namespace launch {

void add_data_file(CLI::App& command, std::string& data_file) {
  command.add_option("--data", data_file, "token file with the run's tokenizer, instead of the one in the run folder");
}

void note_long_text(const TrainedModel& trained, const std::string& what, int64_t tokens) {
  if (tokens <= trained.longest) return;
  const bool windows = trained.recipe.model_preset().reads == moetrain::Reads::kText;
  std::fprintf(stderr,
               "moetrain: note: %s: %lld tokens, longer than %s = %lld of training: the model never saw a text so "
               "long\n",
               what.c_str(), static_cast<long long>(tokens), windows ? "data.sequence_length" : "data.longest",
               static_cast<long long>(trained.longest));
}

}  // namespace launch
