// defines: TextPart, AbsentTask, file_parts, task_parts, text_parts, tasks_of_groups, part_weights: which parts of a
// mixture's text are drawn from by themselves
#pragma once
#include <string>
#include <vector>

#include "data/batching/task_config.h"
#include "data/datasets/token_mixture.h"

namespace data {

/// A token file, or one of its groups of documents.
struct TextPart {
  std::string name;    // for people
  int64_t source = 0;  // of TokenMixture::sources()
  int64_t group = -1;  // of that file; -1: all of them
  int64_t task = -1;   // its number among tasks.names; -1: there are none
};

/// Each file.
std::vector<TextPart> file_parts(const TokenMixture& mixture);

/// Training needs text of every task; another text to be scored may have that of some.
enum class AbsentTask { kRefused, kPassedOver };

/// The text of each task, in their order: a file by its name, or a group of documents by the mixture's name for it.
/// UserError, naming what there is: a task without data, or where none is left, without any; a name of both; two tasks
/// that share documents.
std::vector<TextPart> task_parts(const TokenMixture& mixture, const std::vector<std::string>& names, AbsentTask absent);

/// Of each of the mixture's groups the number of its task; -1: of none. As task_parts.
std::vector<int64_t> tasks_of_groups(const TokenMixture& mixture, const std::vector<std::string>& names,
                                     AbsentTask absent);

/// task_parts of tasks.names, or file_parts where it is empty.
std::vector<TextPart> text_parts(const TokenMixture& mixture, const TaskConfig& tasks, AbsentTask absent);

/// [parts], above 0: how often each comes by tasks.sampling, which is not round_robin. sequences: of each part.
std::vector<double> part_weights(const TokenMixture& mixture, const std::vector<TextPart>& parts,
                                 const std::vector<int64_t>& sequences, const TaskConfig& tasks);

}  // namespace data
