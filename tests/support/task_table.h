// defines: set_task_table: a layer whose experts are those of a task
#pragma once
#include <string>

#include "moetrain/routers/task_table.h"

/// `experts`: as moe.task_table.experts has it; top_k: of its largest set. Without the losses that it could not learn
/// by.
inline void set_task_table(moetrain::MoeConfig& moe, const std::string& experts, int64_t top_k) {
  moe.router = "task_table";
  moe.gate = "hard";
  moe.top_k = top_k;
  moe.losses["load_balance"] = moe.losses["router_z"] = 0;
  moe.own<moetrain::TaskTableConfig>().experts = experts;
}
