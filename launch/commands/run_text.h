// What the commands that read and write text with a trained model share.
// defines: add_data_file, chosen_task, note_long_text
#pragma once
#include <cstdint>
#include <string>

#include "launch/models/trained_model.h"

namespace CLI {
class App;
}

namespace launch {

/// The option --data of a command that needs a run's tokenizer and no text.
void add_data_file(CLI::App& command, std::string& data_file);

/// The number of the task that a text is said to be of; -1 where none is said. UserError where the run has no such
/// task, and where its routers go by tasks and none is said.
int64_t chosen_task(const Recipe& recipe, const std::string& name);

/// A line on the error output where `tokens`, which `what` has, are more than a sequence of training.
void note_long_text(const TrainedModel& trained, const std::string& what, int64_t tokens);

}  // namespace launch
