#include "data/batching/direction_tasks.h"

#include <algorithm>

#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace data {

std::vector<int64_t> tasks_of_directions(const ParallelText& text, const std::vector<std::string>& names,
                                         AbsentTask absent) {
  std::vector<int64_t> tasks;
  if (names.empty()) return tasks;
  std::vector<std::string> directions;
  for (const Direction& direction : text.directions()) {
    directions.push_back(direction.name);
    const auto found = std::ranges::find(names, direction.name);
    if (found == names.end()) {
      parallel::user_error("tasks.names names ", parallel::list_names(names), ", and the text is of the direction ",
                           direction.name, " too; legal: data.directions that are the tasks, or ", direction.name,
                           " among tasks.names");
    }
    tasks.push_back(found - names.begin());
  }
  for (const std::string& name : names) {
    if (absent == AbsentTask::kPassedOver || std::ranges::count(directions, name) > 0) continue;
    parallel::user_error("tasks.names: there is no direction '", name,
                         "' in the text that is read; legal: ", parallel::list_names(directions));
  }
  return tasks;
}

}  // namespace data
