// What the commands that read and write text with a trained model share.
// defines: add_data_file, note_long_text
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

/// A line on the error output where `tokens`, which `what` has, are more than a sequence of training.
void note_long_text(const TrainedModel& trained, const std::string& what, int64_t tokens);

}  // namespace launch
