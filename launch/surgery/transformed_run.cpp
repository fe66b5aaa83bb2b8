#include "launch/surgery/transformed_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

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
    const Operation& operation = options.registry->operations.at(options.operation);
    const parallel::OwnKeys keys = read_settings(options.operation, operation, options.settings);
    if (!options.with.empty() && !operation.several_parents) {
      user_error("--with ", options.with.front().string(), ": ", options.operation,
                 " has one parent; legal: without it");
    }
    const StartPoint start = open_start(options.in, options.registry);
    surgery.parents.push_back(parent_of(options.in, start, options.seed));
    for (const std::filesystem::path& path : options.with) {
      surgery.parents.push_back(parent_of(path, open_start(path, options.registry), options.seed));
    }
    surgery.made = operation.plan(surgery.parents, keys);
    Recipe& recipe = surgery.made.recipe;
    recipe.mesh = {};
    recipe.train.start.clear();
    check_rules(recipe);
    const ParameterTable table = check_offspring(surgery.made, surgery.parents);
    transformed = {.total = table.total, .active = table.active};
    surgery.maker = std::make_unique<TensorMaker>(weights_of(surgery.parents), static_cast<uint64_t>(recipe.run.seed));
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
