// What the names in a recipe, and in its token file, mean. A value: a program outside the tree adds rows of its own
// before it reads recipes. defines: Operation, builtin_operations, Registry, builtin_registry
#pragma once
#include <memory>
#include <vector>

#include "data/chat/chat_template.h"
#include "data/tokenizers/tokenizer.h"
#include "moetrain/models/models.h"
#include "moetrain/moe/moe_tables.h"
#include "moetrain/objectives/objective.h"
#include "optim/schedules/schedule.h"
#include "optim/updates/update.h"

namespace launch {

struct Parent;     // a model that is there, and
struct Offspring;  // what is made of it: launch/surgery/operation.h

/// What can be done to a model's weights.
struct Operation {
  const char* sentence = nullptr;
  /// What it may be told: transform --set KEY=VALUE, and [stage.NAME.surgery.OPERATION] of a recipe.
  parallel::OwnKeyList keys = nullptr;
  /// Whether it takes other parents beside the first, whose shapes are the operation's to check.
  bool several_parents = false;
  /// UserError: what does not fit, where, and what would. Reads of weights no more than it chooses by.
  Offspring (*plan)(const std::vector<Parent>& parents, const parallel::OwnKeys& keys) = nullptr;
};
parallel::NameTable<Operation> builtin_operations();

struct Registry : moetrain::MoeTables {
  data::TokenizerTable tokenizers = data::builtin_tokenizers();                    // prepare --tokenizer
  data::ChatTemplateTable chat_templates = data::builtin_chat_templates();         // prepare --chat-template
  parallel::NameTable<moetrain::ModelPreset> models = moetrain::builtin_models();  // model.kind
  parallel::NameTable<moetrain::ObjectivePreset> objectives = moetrain::builtin_objectives();  // objective.kind
  parallel::NameTable<optim::UpdateRule> updates = optim::builtin_updates();                   // optimizer.kind
  parallel::NameTable<optim::ScheduleRule> schedules = optim::builtin_schedules();             // schedule.kind
  parallel::NameTable<Operation> operations = builtin_operations();  // transform --operation, a stage's surgery
};

/// What moetrain itself knows.
inline std::shared_ptr<const Registry> builtin_registry() {
  static const auto kBuiltin = std::make_shared<const Registry>();
  return kBuiltin;
}

}  // namespace launch
