// defines: task_table_router, TaskTableConfig, tasks_of_table
#pragma once
#include <string>
#include <vector>

#include "moetrain/routers/router.h"

namespace moetrain {

struct TaskTableConfig {
  std::string experts;
};

template <class Visitor>
void visit(TaskTableConfig& config, Visitor& field) {
  field("experts", config.experts, parallel::anything(),
        "for each of tasks.names the experts that work for it, from 0, such as \"en: 0,1; de: 0,2\", where 0 is the "
        "general one; moe.top_k is the largest number of them");
}

/// The mean of the experts that a hand-written table gives to the sequence's task (SkillNet: Liao et al. 2022; of five
/// modalities: Dai et al. 2022). There an expert is a whole sub-block with a norm of its own, here the block's norm is
/// shared. No parameters.
RouterPreset task_table_router();

/// The tasks that moe.task_table names, in alphabetical order. UserError for a table that is none, a task that names no
/// expert, one that is not there or one twice, and two lists of one task.
std::vector<std::string> tasks_of_table(const MoeConfig& config);

}  // namespace moetrain
