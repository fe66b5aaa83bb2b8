// What the names in a recipe, and in its token file, mean. A value: a program outside the tree adds rows of its own
// before it reads recipes. defines: Registry, builtin_registry
#pragma once
#include <memory>

#include "data/chat/chat_template.h"
#include "data/tokenizers/tokenizer.h"
#include "moetrain/models/models.h"
#include "moetrain/moe/moe_tables.h"
#include "moetrain/objectives/objective.h"
#include "optim/schedules/schedule.h"
#include "optim/updates/update.h"

namespace launch {

struct Registry : moetrain::MoeTables {
  data::TokenizerTable tokenizers = data::builtin_tokenizers();                    // prepare --tokenizer
  data::ChatTemplateTable chat_templates = data::builtin_chat_templates();         // prepare --chat-template
  parallel::NameTable<moetrain::ModelPreset> models = moetrain::builtin_models();  // model.kind
  parallel::NameTable<moetrain::ObjectivePreset> objectives = moetrain::builtin_objectives();  // objective.kind
  parallel::NameTable<optim::UpdateRule> updates = optim::builtin_updates();                   // optimizer.kind
  parallel::NameTable<optim::ScheduleRule> schedules = optim::builtin_schedules();             // schedule.kind
};

/// What moetrain itself knows.
std::shared_ptr<const Registry> builtin_registry();

}  // namespace launch
