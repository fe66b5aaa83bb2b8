#include "launch/commands/run_text.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "launch/recipe/recipe_model.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {

void add_data_file(CLI::App& command, std::string& data_file) {
  command.add_option("--data", data_file, "token file with the run's tokenizer, instead of the one in the run folder");
}

int64_t chosen_task(const Recipe& recipe, const std::string& name) {
  const std::vector<std::string> tasks = data::task_names(recipe.tasks);
  if (!name.empty()) {
    const auto found = std::ranges::find(tasks, name);
    if (found != tasks.end()) return found - tasks.begin();
    parallel::user_error(
        "--task ", name, ": the run knows no such task; legal: ",
        tasks.empty() ? "no --task, for it was trained without tasks.names" : parallel::list_names(tasks));
  }
  if (goes_by_tasks(recipe)) {
    parallel::user_error("the run's routers go by the task of a text; legal: --task with one of ",
                         parallel::list_names(tasks));
  }
  return -1;
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
