#include "moetrain/routers/task_table.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/ranking/ranking.h"
#include "moetrain/routers/composed_router.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"
#include "parallel/base/text_list.h"
#include "parallel/dispatch/assignment.h"

namespace moetrain {
namespace {

using parallel::user_error;

[[noreturn]] void refuse_table(const MoeConfig& config, const std::string& reason, const std::string& legal) {
  user_error("moe.task_table.experts = \"", config.own<TaskTableConfig>().experts, "\": ", reason,
             "; nearest legal: ", legal);
}

/// By task, ascending.
using TaskExperts = std::map<std::string, std::vector<int64_t>, std::less<>>;

std::vector<int64_t> parse_experts(const MoeConfig& config, const std::string& task, std::string_view list) {
  const int64_t there = expert_kinds(config).total();
  const std::string legal = parallel::concat("numbers from 0 to ", there - 1, ", each once");
  if (parallel::trimmed(list).empty()) refuse_table(config, "the task '" + task + "' names no expert", legal);
  std::vector<int64_t> experts;
  for (std::string_view item : parallel::split(list, ',')) {
    item = parallel::trimmed(item);
    int64_t expert = -1;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), expert);
    if (error != std::errc{} || end != item.data() + item.size() || expert < 0 || expert >= there) {
      refuse_table(config, parallel::concat("the task '", task, "' names the expert '", item, "' of ", there), legal);
    }
    if (std::ranges::count(experts, expert) > 0) {
      refuse_table(config, parallel::concat("the task '", task, "' names the expert ", expert, " twice"), legal);
    }
    experts.push_back(expert);
  }
  std::ranges::sort(experts);
  return experts;
}

TaskExperts parse_table(const MoeConfig& config) {
  const std::string form = "experts = \"en: 0,1; de: 0,2\", a list for each of tasks.names";
  TaskExperts table;
  const std::string& text = config.own<TaskTableConfig>().experts;
  if (parallel::trimmed(text).empty()) refuse_table(config, "no task has an expert", form);
  for (const std::string_view item : parallel::split(text, ';')) {
    const size_t colon = item.rfind(':');
    const std::string task(parallel::trimmed(item.substr(0, colon)));
    if (colon == item.npos || task.empty())
      refuse_table(config, parallel::concat("'", item, "' is no task with its experts"), form);
    if (table.contains(task)) refuse_table(config, "the task '" + task + "' comes twice", form);
    table.emplace(task, parse_experts(config, task, item.substr(colon + 1)));
  }
  return table;
}

/// Logits are 0 for a task's experts and -1e4 for others: the softmax is exactly 1 / number of them, and finite.
class TableScores : public Scores {
 public:
  explicit TableScores(const ScoresInput& input) {
    const TaskExperts table = parse_table(input.config);
    logits_SE_ = at::full({std::ssize(input.shape.tasks), input.experts()}, -1e4, at::kDouble);
    for (size_t task = 0; task < input.shape.tasks.size(); ++task) {
      at::Tensor row_E = logits_SE_[static_cast<int64_t>(task)];
      for (const int64_t expert : table.at(input.shape.tasks[task])) row_E[expert] = 0.0;
    }
  }
  ScoreTable forward(const at::Tensor& tokens_TD, const RoutingContext& context) const override {
    const at::Tensor& task_T = context.scope.task_T;
    parallel::check_internal(task_T.defined() && task_T.size(0) == tokens_TD.size(0),
                             "the router task_table needs each token's task");
    return {.logits_TE = logits_SE_.index_select(0, task_T).to(tokens_TD.options().requires_grad(false)),
            .clean_logits_TE = {},
            .noise_scale_TE = {}};
  }

 private:
  at::Tensor logits_SE_;  // S tasks
};

/// Those that have any probability, at most K.
at::Tensor select_set(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  const at::Tensor chosen_TK = largest_k(by_ratio(candidates.probabilities_TE), config.top_k);
  return chosen_TK.masked_fill(candidates.probabilities_TE.gather(1, chosen_TK) == 0, parallel::Assignment::kDropped);
}

std::shared_ptr<Router> make_task_table(const ParameterSource& source, const MoeConfig& config,
                                        const RouterShape& shape) {
  const ScoresInput input{source, config, shape};
  return compose_router({std::make_unique<TableScores>(input), softmax_squash, select_set}, input);
}

void check_table(const MoeConfig& config) {
  size_t largest = 0;
  for (const auto& [task, experts] : parse_table(config)) largest = std::max(largest, experts.size());
  if (config.top_k == static_cast<int64_t>(largest)) return;
  user_error("moe.top_k (", config.top_k, ") with moe.router = \"task_table\", whose largest set has ", largest,
             " experts; nearest legal: top_k = ", largest);
}

void check_tasks_of_table(const MoeConfig& config, const std::vector<std::string>& tasks) {
  const TaskExperts table = parse_table(config);
  for (const std::string& task : tasks) {
    if (!table.contains(task)) {
      refuse_table(config, "the task '" + task + "' of tasks.names has no experts",
                   "a list for each of " + parallel::list_names(tasks));
    }
  }
  for (const auto& [task, experts] : table) {
    if (std::ranges::count(tasks, task) == 0) {
      refuse_table(config, "nobody has the task '" + task + "'",
                   "tasks of tasks.names: " + parallel::list_names(tasks));
    }
  }
}

}  // namespace

std::vector<std::string> tasks_of_table(const MoeConfig& config) {
  std::vector<std::string> tasks;
  for (const auto& [task, experts] : parse_table(config)) tasks.push_back(task);
  return tasks;
}

RouterPreset task_table_router() {
  return {.make = make_task_table,
          .demands = {.gates = {Gate::kHard}, .learned = false, .reads_tasks = true},
          .keys = parallel::own_keys_of<TaskTableConfig>,
          .check = check_table,
          .check_tasks = check_tasks_of_table};
}

}  // namespace moetrain
