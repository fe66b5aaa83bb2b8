// Sections [stage.NAME]: what a stage of a run says otherwise than the run, and what is done to the model before it.
// defines: SurgeryConfig, visit, surgery_fields, may_differ, list_differing, StageSection, take_stage_sections,
// stage_order, stage_named, overlaid, surgery_of
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "launch/recipe/fields.h"
#include "launch/toml/document.h"
#include "parallel/base/own_keys.h"

namespace launch {

/// [stage.NAME.surgery]; the operation's own keys are in [stage.NAME.surgery.OPERATION].
struct SurgeryConfig : parallel::HasOwnKeys {
  static constexpr const char* kNone = "none";

  std::string operation = kNone;
  std::string with;
  int64_t seed = -1;
  bool any() const { return operation != kNone; }
};

template <class Visitor>
void visit(SurgeryConfig& config, Visitor& field) {
  using namespace parallel;
  field("operation", config.operation, anything(),
        "what is done to the model before the stage (moetrain transform --help); [model] and [moe] of all later ones "
        "are then those that it makes");
  field("with", config.with, anything(),
        "other parents, runs or folders with commas between, of an operation on several");
  field("seed", config.seed, at_least(-1), "of what it draws; -1: run.seed");
}

/// Sections "surgery" and "surgery.OPERATION"; valid as long as `config` stays where it is.
std::vector<RecipeField> surgery_fields(SurgeryConfig& config, const Registry& registry);

/// Whether a stage may say this key of the recipe otherwise than the run. Of those of models only such that leave the
/// weights as they are, which plan_stages() finds out.
bool may_differ(const std::string& key);
/// "data, train.length, ..." for messages.
std::string list_differing();

/// A stage as a document and overrides give it, without "stage.NAME." before sections.
struct StageSection {
  std::string name;
  std::vector<DocumentEntry> entries = {};
  std::vector<std::pair<std::string, std::string>> overrides = {};  // "train.length=5u", and the whole for messages
};

/// Takes what is of stages away from both, in the order of the document. UserError with its place: a key of [stage] or
/// [stage.NAME] itself, a NAME of other than letters, digits, _ and -.
std::vector<StageSection> take_stage_sections(std::vector<DocumentEntry>& entries, std::vector<std::string>& overrides);

/// "dense, 3 x (router, backbone)" as the names that it means, one after another; {""} where it is empty. UserError for
/// anything else, and for more than 10000.
std::vector<std::string> stage_order(const std::string& text);

/// The stage of this name. UserError where there is no such section.
const StageOverlay& stage_named(const Recipe& run, const std::string& name);

/// `run` as the stage has it, without its stages. A [layer.NAME] that has [moe]'s value of a key goes with it.
/// UserError: a key that this model has not (any more).
Recipe overlaid(const Recipe& run, const StageOverlay& stage);

/// What it says of its surgery.
SurgeryConfig surgery_of(const StageOverlay& stage, const Registry& registry);

}  // namespace launch
