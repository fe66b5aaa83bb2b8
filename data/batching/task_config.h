// defines: TaskSampling, TaskUnit, TaskConfig, visit, task_names, TaskText, check_tasks
#pragma once
#include <array>
#include <string>
#include <vector>

#include "data/datasets/data_config.h"
#include "parallel/base/field.h"

namespace data {

/// How often each task comes.
enum class TaskSampling { kWeights, kRoundRobin, kTemperature };
constexpr std::array<const char*, 3> names_of(TaskSampling) { return {"weights", "round_robin", "temperature"}; }

/// What is of one task.
enum class TaskUnit { kSequence, kMicroBatch, kUpdate };
constexpr std::array<const char*, 3> names_of(TaskUnit) { return {"sequence", "micro_batch", "update"}; }

/// Which parts of the text a run tells apart.
struct TaskConfig {
  std::string names;
  parallel::Enum<TaskSampling> sampling = TaskSampling::kWeights;
  double temperature = 1.0;
  parallel::Enum<TaskUnit> each = TaskUnit::kSequence;
};

template <class Visitor>
void visit(TaskConfig& config, Visitor& field) {
  using namespace parallel;
  field(
      "names", config.names, anything(),
      "tasks, each a group of documents or one of several token files, by name: \"en, de, fr\", other text being left "
      "out; or a translator's directions, all of them: \"en-de, de-en\"; routers that ask for it are told each "
      "sequence's task; empty: no tasks");
  field(
      "sampling", config.sampling, anything(),
      "how often each task comes: weights: as the files are weighed, and within one as much text as there is; "
      "round_robin: in turn; temperature: n sequences in proportion to n^(1 / temperature); directions are weighed by "
      "data.temperature");
  field("temperature", config.temperature, above(0), "of sampling = \"temperature\"; SkillNet: 4");
  field("each", config.each, anything(),
        "what is of one task: each sequence, so that batches are mixed, each micro_batch, or each update");
}

/// The names, in their order: a task's number is its place. UserError for an empty name and one that comes twice.
std::vector<std::string> task_names(const TaskConfig& config);

/// What a model reads, as far as tasks ask.
enum class TaskText { kRunning, kPairs, kOther };

/// UserError, naming keys and legal values: names as task_names refuses them, how tasks are drawn where there are none,
/// a temperature that weighs nothing, a model that reads neither running text nor pairs, sequences that have no one
/// task, and packed documents and sentence pairs, which are not drawn by task in every way.
void check_tasks(const TaskConfig& config, const DataConfig& data, TaskText text, const std::string& model);

}  // namespace data
