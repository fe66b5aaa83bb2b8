// defines: number_between, whole_number_between, add_update_option, add_compute_threads,
// use_compute_threads, add_overrides, add_stage_option: options of several commands, and what one's number may be
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace launch {

/// A finite number from `low` to `high`. (CLI11's own Range lets NaN pass, as it is neither below nor above.)
CLI::Validator number_between(double low, double high);

/// A whole number from `low` to `high`.
CLI::Validator whole_number_between(int64_t low, int64_t high = std::numeric_limits<int64_t>::max());

/// --update: which checkpoint of a run, as chosen_update takes it.
void add_update_option(CLI::App& command, std::string& update);

/// --threads of a command that computes with a run's model in one process: as the run's recipe has it, or so many.
void add_compute_threads(CLI::App& command, int64_t& threads);
/// After the model was loaded, which sets the recipe's.
void use_compute_threads(int64_t threads);

/// --set section.key=value, of a command that takes a recipe.
void add_overrides(CLI::App& command, std::vector<std::string>& overrides);

/// --stage NAME, of a recipe that has train.stages.
void add_stage_option(CLI::App& command, std::string& stage);

}  // namespace launch
