#include "launch/surgery/transformed_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "launch/interchange/tensors/safetensors.h"
#include "launch/planning/parameter_table.h"
#include "launch/recipe/reader.h"
#include "launch/recipe/rules.h"
#include "launch/runs/new_run.h"
#include "launch/runs/start_point.h"
#include "launch/toml/document.h"
#include "launch/toml/toml_text.h"
#include "parallel/base/fault.h"
#include "parallel/base/nearest.h"

namespace launch {
namespace {

using parallel::user_error;

std::vector<RecipeField> fields_of_operation(const std::string& name, const Operation& operation,
                                             parallel::OwnKeys& keys) {
  std::vector<RecipeField> fields;
  for (parallel::Field& field : operation.keys(keys)) fields.push_back({std::move(field), name});
  return fields;
}

parallel::OwnKeys read_settings(const std::string& name, const Operation& operation,
                                const std::vector<std::string>& settings) {
  parallel::OwnKeys keys;
  const std::vector<RecipeField> fields = fields_of_operation(name, operation, keys);
  std::vector<std::string> known;
  for (const RecipeField& field : fields) known.push_back(field.key);
  for (const std::string& text : settings) {
    const std::string place = "--set " + shortened(text);
    const size_t equals = text.find('=');
    if (equals == std::string::npos) user_error(place, ": wanted key=value, such as --set experts=4");
    const std::string key = text.substr(0, equals);
    const auto found = std::ranges::find(fields, key, &RecipeField::key);
    if (found == fields.end()) {
      const std::string nearest = parallel::nearest_name(key, known);
      user_error(place, ": ", name, " has no key '", key, "'",
                 known.empty()     ? "; it has none"
                 : nearest.empty() ? "; known: " + parallel::list_names(known)
                                   : "; did you mean '" + nearest + "'?");
    }
    set_field(*found, text.substr(equals + 1), place);
  }
  return keys;
}

Parent parent_of(const std::filesystem::path& path, const StartPoint& start, const TransformOptions& options) {
  Parent parent{.place = path.string(),
                .recipe = start.recipe(),
                .tokenizer_hash = start.tokenizer_hash(),
                .weights = open_stored_weights(path)};
  parent.recipe.model.vocabulary = start.vocabulary();
  if (options.seed) parent.recipe.run.seed = *options.seed;
  return parent;
}

/// That the changed recipe's model has these parameters and no others.
ParameterTable check_model(const Offspring& made, const std::vector<const StoredWeights*>& parents) {
  ParameterTable table = count_parameters(made.recipe, made.recipe.model.vocabulary, /*ranks=*/1, /*rank=*/0);
  size_t weights = 0;
  for (const MadeTensor& tensor : made.tensors) {
    check_made(tensor, parents);
    if (tensor.of.is_buffer) continue;
    ++weights;
    const ParameterShare* share = table.find(tensor.of.name);
    if (share != nullptr && share->whole == tensor.of.elements()) continue;
    user_error("the operation makes '", tensor.of.name, "' ", interchange::shape_text(tensor.of.shape),
               ", and the changed recipe's model ",
               share == nullptr ? "has none of that name" : parallel::concat("has ", share->whole, " numbers there"));
  }
  if (weights == table.own.size()) return table;
  for (const ParameterShare& share : table.own) {
    const bool is_made = std::ranges::any_of(
        made.tensors, [&](const MadeTensor& tensor) { return !tensor.of.is_buffer && tensor.of.name == share.name; });
    if (!is_made) user_error("the operation makes nothing for '", share.name, "' of the changed recipe's model");
  }
  return table;
}

/// Everything that a transformation reads while it writes.
struct Surgery {
  std::vector<Parent> parents;
  Offspring made;
  std::unique_ptr<TensorMaker> maker;
  std::vector<double> piece = {};

  StreamedTensor stream(const MadeTensor& tensor) {
    const at::ScalarType type = scalar_type_of(tensor.of.dtype);
    return {
        .path = (tensor.of.is_buffer ? "buffers/" : "parameters/") + tensor.of.name,
        .shape = tensor.of.shape,
        .type = type,
        .read = [this, &tensor, type](const parallel::ElementRange& elements, void* out) {
          piece.resize(static_cast<size_t>(elements.count));
          maker->make(tensor, elements, piece.data());
          at::from_blob(out, {elements.count}, type).copy_(at::from_blob(piece.data(), {elements.count}, at::kDouble));
        }};
  }
};

}  // namespace

Transformed transform_run(const TransformOptions& options, parallel::Communicator& group) {
  Surgery surgery;
  Transformed transformed;
  const auto prepare = [&] {
    const Operation& operation = options.operations.at(options.operation);
    const parallel::OwnKeys keys = read_settings(options.operation, operation, options.settings);
    if (!options.with.empty() && !operation.several_parents) {
      user_error("--with ", options.with.front().string(), ": ", options.operation,
                 " has one parent; legal: without it");
    }
    const StartPoint start = open_start(options.in, options.registry);
    surgery.parents.push_back(parent_of(options.in, start, options));
    for (const std::filesystem::path& path : options.with) {
      surgery.parents.push_back(parent_of(path, open_start(path, options.registry), options));
    }
    surgery.made = operation.plan(surgery.parents, keys);
    Recipe& recipe = surgery.made.recipe;
    recipe.mesh = {};
    recipe.train.start.clear();
    check_rules(recipe);
    std::vector<const StoredWeights*> weights;
    for (const Parent& parent : surgery.parents) weights.push_back(parent.weights.get());
    const ParameterTable table = check_model(surgery.made, weights);
    transformed = {.total = table.total, .active = table.active};
    surgery.maker = std::make_unique<TensorMaker>(weights, static_cast<uint64_t>(recipe.run.seed));
    NewRun run{.recipe = recipe};
    for (const MadeTensor& tensor : surgery.made.tensors) run.tensors.push_back(surgery.stream(tensor));
    run.keep_tokenizer(start.tokenizer());
    run.tokenizer_hash = start.tokenizer_hash();
    run.chat = start.chat();
    run.came_with = start.came_with();
    return run;
  };
  transformed.bytes = make_run(options.out, prepare, group);
  return transformed;
}

std::string describe_operations(const parallel::NameTable<Operation>& operations) {
  std::string text;
  for (const std::string& name : operations.names()) {
    const Operation& operation = operations.at(name);
    text += name + (operation.several_parents ? " (parents beside IN: --with)" : "") + ": " + operation.sentence + "\n";
    parallel::OwnKeys keys;
    for (const RecipeField& field : fields_of_operation(name, operation, keys)) {
      text += "  --set " + field.key + "=" + toml_text(field.value) + "  (" + legal_text(field) + ") " +
              field.sentence + "\n";
    }
  }
  return text;
}

}  // namespace launch
