// defines: tasks_of_directions: which task each direction of translation is
#pragma once
#include <string>
#include <vector>

#include "data/batching/text_parts.h"
#include "data/datasets/parallel_text.h"

namespace data {

/// Of each of the text's directions the number of its task; empty where there are no tasks. UserError, naming what
/// there is: a direction that is none of the tasks; with AbsentTask::kRefused a task that is no direction.
std::vector<int64_t> tasks_of_directions(const ParallelText& text, const std::vector<std::string>& names,
                                         AbsentTask absent);

}  // namespace data
