#include "data/batching/task_config.h"

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"

namespace data {
namespace {

using parallel::user_error;

void check_unnamed(const TaskConfig& config) {
  const TaskConfig defaults;
  if (config.sampling == defaults.sampling && config.each == defaults.each &&
      config.temperature == defaults.temperature) {
    return;
  }
  user_error("tasks.sampling = \"", config.sampling, "\", tasks.each = \"", config.each,
             "\" and tasks.temperature = ", config.temperature,
             " without tasks.names: there is no task to draw; legal: tasks.names = \"en, de\", groups of documents or ",
             "token files, or none of these keys");
}

/// An update's pairs are of like length, in whole: a part of it has no direction of its own.
void check_pairs(const TaskConfig& config) {
  if (config.sampling == TaskSampling::kTemperature) {
    user_error("tasks.sampling = \"temperature\" of sentence pairs, whose directions data.temperature weighs; legal: ",
               "sampling = \"weights\" and data.temperature = ", config.temperature);
  }
  if (config.each == TaskUnit::kMicroBatch) {
    user_error("tasks.each = \"micro_batch\" of sentence pairs, of which an update is a batch of like length; legal: ",
               "each = \"sequence\" or \"update\"");
  }
  if (config.sampling == TaskSampling::kRoundRobin && config.each != TaskUnit::kUpdate) {
    user_error(
        "tasks.sampling = \"round_robin\" of sentence pairs with tasks.each = \"", config.each,
        "\", where an update holds pairs of all directions; legal: each = \"update\", or sampling = \"weights\"");
  }
}

}  // namespace

std::vector<std::string> task_names(const TaskConfig& config) {
  std::vector<std::string> names;
  if (config.names.empty()) return names;
  for (const std::string_view item : parallel::split(config.names, ',')) {
    const std::string name(parallel::trimmed(item));
    const auto refuse = [&](const std::string& reason) {
      user_error("tasks.names = \"", config.names, "\": ", reason, "; legal: names that differ, such as \"en, de\"");
    };
    if (name.empty()) refuse("a name is missing");
    if (std::ranges::count(names, name) > 0) refuse("two tasks of the name '" + name + "'");
    names.push_back(name);
  }
  return names;
}

void check_tasks(const TaskConfig& config, const DataConfig& data, TaskText text, const std::string& model) {
  if (task_names(config).empty()) return check_unnamed(config);
  if (config.temperature != 1 && config.sampling != TaskSampling::kTemperature) {
    user_error("tasks.temperature = ", config.temperature, " with tasks.sampling = \"", config.sampling,
               "\" weighs nothing; legal: sampling = \"temperature\", or temperature = 1");
  }
  if (text == TaskText::kOther) {
    user_error("tasks.names = \"", config.names, "\" with model.kind = \"", model,
               "\": tasks are of running text or of sentence pairs, which this model does not read; legal: ",
               "tasks.names = \"\", the default, or model.kind = \"decoder_lm\" or \"encoder_decoder\"");
  }
  if (text == TaskText::kPairs) return check_pairs(config);
  if (data.packing == DocumentPacking::kJoined) {
    user_error("tasks.names = \"", config.names, "\" with data.packing = \"joined\", whose sequences are documents of ",
               "several tasks; legal: packing = \"documents\" or \"stream\"");
  }
  const bool mixed = config.sampling == TaskSampling::kWeights && config.each == TaskUnit::kSequence;
  if (data.packing == DocumentPacking::kDocuments && !mixed) {
    user_error("tasks.sampling = \"", config.sampling, "\" and tasks.each = \"", config.each,
               "\" with data.packing = \"documents\", whose rows hold documents of several tasks; legal: sampling = ",
               "\"weights\" and each = \"sequence\", or packing = \"stream\"");
  }
}

}  // namespace data
