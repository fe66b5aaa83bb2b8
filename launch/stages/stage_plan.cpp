#include "launch/stages/stage_plan.h"

#include <algorithm>

#include "data/datasets/token_mixture.h"
#include "launch/recipe/recipe_model.h"
#include "launch/recipe/rules.h"
#include "launch/recipe/writer.h"
#include "launch/runs/token_file.h"
#include "launch/stages/seam.h"
#include "parallel/base/fault.h"
#include "parallel/base/text_list.h"
#include "parallel/mesh/mesh.h"

namespace launch {
namespace {

using parallel::concat;
using parallel::user_error;

/// Of the whole model, without weights.
std::vector<StoredWeights::Tensor> tensors_of(const Recipe& recipe, int64_t vocabulary,
                                              std::set<std::string>* trained) {
  const auto model = build_model(recipe, vocabulary, at::kMeta);
  const std::string type = recipe.run.precision == Precision::kFloat64 ? "F64" : "F32";
  std::vector<StoredWeights::Tensor> all;
  for (const auto& parameter : model->named_parameters()) {
    all.push_back({parameter.key(), parameter.value().sizes().vec(), type});
    if (trained != nullptr && parameter.value().requires_grad()) trained->insert(parameter.key());
  }
  for (const auto& buffer : model->named_buffers()) {
    all.push_back({buffer.key(), buffer.value().sizes().vec(), type, /*is_buffer=*/true});
  }
  return all;
}

/// The shapes of weights that are not there yet. What an operation chooses by their values is another choice of the
/// same shape.
class PlannedWeights : public StoredWeights {
 public:
  explicit PlannedWeights(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}
  const std::vector<Tensor>& tensors() const override { return tensors_; }
  void read(const std::string&, const parallel::ElementRange& elements, double* out) const override {
    std::fill(out, out + elements.count, 0.0);
  }
  bool has_checksums() const override { return false; }
  void check_bytes(const std::string&) const override {}

 private:
  std::vector<Tensor> tensors_;
};

/// The model of another recipe, in everything that says what its weights are.
void take_model(Recipe& recipe, const Recipe& from) {
  recipe.model = from.model;
  recipe.moe = from.moe;
  recipe.lora = from.lora;
}

/// The run's recipe as operations are told it: on a layout of one, without patterns, which are held against each
/// stage's own model.
Recipe line_of(const Recipe& run) {
  Recipe line = run;
  line.stages.clear();
  line.mesh = {};
  line.train.stages.clear();
  line.train.frozen.clear();
  line.optimizer.learning_rate_factors.clear();
  return line;
}

bool is_same(const MadeTensor& made, const std::vector<StoredWeights::Tensor>& before) {
  const auto found = std::ranges::find(before, made.of.name, &StoredWeights::Tensor::name);
  if (found == before.end() || found->shape != made.of.shape || made.slabs.size() != 1) return false;
  const Slab& slab = made.slabs.front();
  if (slab.mean_of.size() != 1 || slab.scale != 1 || slab.constant != 0 || slab.std != 0) return false;
  const Taken& taken = slab.mean_of.front();
  return taken.parent == 0 && taken.name == made.of.name && taken.first == 0 && taken.strides.empty() &&
         taken.rows_averaged == 1;
}

void check_same_weights(const PlannedStage& stage, const std::vector<StoredWeights::Tensor>& wanted) {
  for (const StoredWeights::Tensor& tensor : stage.tensors) {
    const auto found = std::ranges::find(wanted, tensor.name, &StoredWeights::Tensor::name);
    if (found != wanted.end() && found->shape == tensor.shape) continue;
    user_error("what it says of [moe] or [model] gives the weights '", tensor.name, "' another shape, or wants such ",
               "as are not there; legal: keys that leave all weights as they are, and surgery for the others");
  }
  if (wanted.size() == stage.tensors.size()) return;
  for (const StoredWeights::Tensor& tensor : wanted) {
    if (std::ranges::count(stage.tensors, tensor.name, &StoredWeights::Tensor::name) > 0) continue;
    user_error("what it says of [moe] or [model] leaves the weights '", tensor.name, "' without use; legal: keys that ",
               "leave all weights as they are, and surgery for the others");
  }
}

/// The run's recipe with the model as the surgery so far has made it, and the tensors that are then there.
struct Line {
  Recipe recipe;
  int64_t vocabulary = 0;
  std::vector<StoredWeights::Tensor> tensors;
  bool begun = false;  // by a stage
};

void operate(Line& line, PlannedStage& stage, const std::string& tokenizer_hash) {
  Parent parent{.place = concat("the model before stage ", stage.title),
                .recipe = stage.before,
                .tokenizer_hash = tokenizer_hash,
                .weights = std::make_shared<PlannedWeights>(line.tensors),
                .standing = line.begun ? Standing::kLater : Standing::kStart};
  const Offspring made = make_offspring(stage, std::move(parent)).made;
  stage.kept.clear();
  std::vector<StoredWeights::Tensor> after;
  for (const MadeTensor& tensor : made.tensors) {
    if (is_same(tensor, line.tensors)) stage.kept.insert(tensor.of.name);
    after.push_back(tensor.of);
  }
  take_model(line.recipe, made.recipe);
  line.vocabulary = made.recipe.model.vocabulary;
  line.tensors = std::move(after);
}

void check_sections(const Recipe& run) {
  if (run.stages.empty() || run.train.stages.find_first_not_of(" \t") != std::string::npos) return;
  user_error("there are sections [stage.", run.stages.front().name, "]", run.stages.size() > 1 ? " and others" : "",
             ", and train.stages is empty; legal: their names in order, ", "such as stages = \"",
             run.stages.front().name, "\" in [train]");
}

PlannedStage plan_stage(const Recipe& run, const std::string& name, const std::string& title, const StageText& text,
                        Line& line) {
  PlannedStage stage{.name = name, .recipe = {}, .before = line.recipe, .title = title};
  stage.before.model.vocabulary = line.vocabulary;
  for (const StoredWeights::Tensor& tensor : line.tensors) stage.kept.insert(tensor.name);
  const StageOverlay& overlay = stage_named(run, name);
  stage.surgery = surgery_of(overlay, *run.registry);
  if (stage.surgery.any()) operate(line, stage, text.tokenizer_hash);
  line.begun = true;
  stage.recipe = run;
  take_model(stage.recipe, line.recipe);
  stage.recipe = overlaid(stage.recipe, overlay);
  stage.vocabulary = line.vocabulary;
  check_rules(stage.recipe);
  check_training(stage.recipe);
  stage.tensors = tensors_of(stage.recipe, line.vocabulary, &stage.trained);
  check_same_weights(stage, line.tensors);
  return stage;
}

/// That it can be laid out on so many ranks.
void check_layout(const PlannedStage& stage, int64_t ranks) {
  build_model(stage.recipe, stage.vocabulary, at::kMeta,
              std::make_shared<const parallel::Mesh>(stage.recipe.mesh, ranks, /*rank=*/0));
}

void check_first(const PlannedStage& stage, const Recipe& run) {
  if (!stage.surgery.any() || !run.train.start.empty()) return;
  user_error("surgery on weights that are still as drawn; legal: the model as it shall be in [model] and [moe], or ",
             "train.start with one that has learnt something");
}

/// What decides which sequences an update reads.
std::vector<std::string> data_keys(const Recipe& recipe) {
  std::vector<std::string> keys;
  for (const auto& [name, value] : written_keys(recipe)) {
    const bool in_turn = recipe.tasks.each == data::TaskUnit::kMicroBatch && name == "train.micro_batches";
    const bool counts =
        name.starts_with("data.") || name == "train.global_batch" || name == "train.batch_tokens" || in_turn;
    if (counts) keys.push_back(name + " = " + value);
  }
  return keys;
}

}  // namespace

StageText first_text(const Recipe& run) {
  if (run.train.stages.empty()) return {};
  const std::string name = stage_order(run.train.stages).front();
  if (name.empty()) return {};
  const Recipe first = overlaid(run, stage_named(run, name));
  const auto corpus = data::TokenMixture::open(first.data.file, data::Verify::kIndexOnly, run.registry->tokenizers);
  return {.vocabulary = model_vocabulary(first, corpus.tokenizer()), .tokenizer_hash = corpus.tokenizer_hash()};
}

std::vector<PlannedStage> plan_stages(const Recipe& run, const StageText& text, int64_t ranks) {
  check_sections(run);
  const std::vector<std::string> order = stage_order(run.train.stages);
  if (order.front().empty()) return {{.name = "", .recipe = run}};
  for (const std::string& name : order) stage_named(run, name);
  if (run.evaluate.patience > 0) {
    user_error("evaluate.patience = ", run.evaluate.patience, " with train.stages, whose stages have the lengths that ",
               "they say; legal: patience = 0");
  }
  if (!run.overlap.plan.empty()) {
    user_error("overlap.plan = \"", run.overlap.plan,
               "\" with train.stages, each of which may have other layers; legal: ",
               "overlap.schedule alone, which is planned for each");
  }
  Line line{.recipe = line_of(run), .vocabulary = text.vocabulary, .tensors = {}};
  line.tensors = tensors_of(line.recipe, line.vocabulary, nullptr);
  std::vector<PlannedStage> stages;
  for (const std::string& name : order) {
    const std::string title = concat(stages.size() + 1, " of ", order.size(), ", ", name);
    in_stage(title, [&] {
      stages.push_back(plan_stage(run, name, title, text, line));
      check_layout(stages.back(), ranks);
      if (stages.size() == 1) check_first(stages.back(), run);
    });
  }
  return stages;
}

Recipe stage_alone(const Recipe& run, const std::string& stage, int64_t vocabulary, int64_t ranks) {
  if (run.train.stages.empty() && stage.empty()) return run;
  if (stage.empty()) {
    user_error("the recipe has train.stages = \"", run.train.stages,
               "\", and each is a question of its own; legal: ", "--stage with the name of one");
  }
  const StageText text = vocabulary > 0 ? StageText{.vocabulary = vocabulary} : first_text(run);
  for (PlannedStage& planned : plan_stages(run, text, ranks)) {
    if (planned.name == stage) return std::move(planned.recipe);
  }
  user_error("--stage ", stage, ": train.stages = \"", run.train.stages, "\" names none of that name");
}

std::string StageHistory::to_text() const {
  std::string text;
  for (const Turn& turn : turns_) text += concat(text.empty() ? "" : ", ", turn.name, " ", turn.begin);
  return text;
}

StageHistory StageHistory::from_text(const std::string& text, const std::string& place) {
  StageHistory history;
  for (const std::string_view item : parallel::split(text, ',')) {
    const std::string turn(parallel::trimmed(item, " "));
    const size_t space = turn.find(' ');
    const std::string digits = space == turn.npos ? "" : turn.substr(space + 1);
    const bool number = !digits.empty() && digits.size() < 16 && digits.find_first_not_of("0123456789") == digits.npos;
    const int64_t least = history.turns_.empty() ? 0 : history.begin() + 1;
    const int64_t begin = number ? std::stoll(digits) : -1;
    if (begin < least || (history.turns_.empty() && begin != 0)) {
      user_error(place, ": stages = \"", shortened(text), "\" are no stages that a run can have begun");
    }
    history.add(turn.substr(0, space), begin);
  }
  return history;
}

void StageHistory::check_begins(const std::vector<PlannedStage>& stages, const std::string& place) const {
  for (size_t i = 0; i < turns_.size(); ++i) {
    if (i < stages.size() && stages[i].name == turns_[i].name) continue;
    user_error(place, ": its run had begun the stages ", to_text(), " (name and updates before), and stage ", i + 1,
               " of this recipe is ", i < stages.size() ? "'" + stages[i].name + "'" : "none",
               "; legal: train.stages that begin with those, or another run.folder");
  }
}

int64_t StageHistory::data_read_before(const std::vector<PlannedStage>& stages) const {
  const std::vector<std::string> own = data_keys(stages[now()].recipe);
  int64_t updates = 0;
  for (size_t i = 0; i < now(); ++i) {
    if (data_keys(stages[i].recipe) == own) updates += turns_[i + 1].begin - turns_[i].begin;
  }
  return updates;
}

int64_t StageHistory::state_begin(const std::vector<PlannedStage>& stages, const std::string& name) const {
  size_t first = now();
  while (first > 0 && stages[first].kept.contains(name) && stages[first - 1].trained.contains(name)) --first;
  return turns_[first].begin;
}

}  // namespace launch
