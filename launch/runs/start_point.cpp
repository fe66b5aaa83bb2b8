#include "launch/runs/start_point.h"

#include <ATen/ATen.h>

#include <set>

#include "data/datasets/token_corpus.h"
#include "launch/runs/imported_run.h"
#include "launch/runs/run_chat.h"
#include "launch/runs/run_folder.h"
#include "launch/runs/run_tokenizer.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// What the folder holds and the model has no place for would be lost.
void check_all_used(const interchange::ImportedModel& model, const std::vector<CheckpointTensor>& tensors) {
  std::set<std::string> wanted;
  for (const CheckpointTensor& tensor : tensors) wanted.insert(tensor.path.substr(tensor.path.find('/') + 1));
  for (const auto& parameter : model.parameters()) {
    if (wanted.contains(parameter.name)) continue;
    parallel::user_error("the folder that train.start names holds '", parameter.name, "' ",
                         interchange::shape_text(parameter.shape), ", which this recipe's model lacks");
  }
}

void read_imported(const interchange::ImportedModel& model, const CheckpointTensor& tensor) {
  const std::string name = tensor.path.substr(tensor.path.find('/') + 1);
  const bool is_buffer = tensor.path.starts_with("buffers/");
  const interchange::ImportedModel::Parameter* found = nullptr;
  for (const auto& parameter : model.parameters()) {
    if (parameter.name == name) found = &parameter;
  }
  if (found == nullptr) {
    if (is_buffer) return;
    parallel::user_error("the folder that train.start names holds nothing for '", name, "'");
  }
  const parallel::Placement place = tensor.place();
  if (place.global_shape != found->shape) {
    parallel::user_error("'", name, "' of the folder that train.start names has shape ",
                         interchange::shape_text(found->shape), ", this model's is ",
                         interchange::shape_text(place.global_shape));
  }
  at::Tensor own = at::empty(place.local_shape, at::kDouble == tensor.tensor.scalar_type() ? at::kDouble : at::kFloat);
  auto* to = static_cast<char*>(own.mutable_data_ptr());
  for (const parallel::ElementRange& run : place.runs) {
    model.read(name, run, own.scalar_type() == at::kDouble ? "F64" : "F32", to);
    to += run.count * own.element_size();
  }
  tensor.tensor.detach().view_as(own).copy_(own);
}

}  // namespace

void StartPoint::read(const std::vector<CheckpointTensor>& tensors) const {
  std::vector<CheckpointTensor> weights;
  for (const CheckpointTensor& tensor : tensors) {
    const bool of_model = tensor.path.starts_with("parameters/") || tensor.path.starts_with("buffers/");
    if (of_model) weights.push_back(tensor);
  }
  if (imported_ == nullptr) return read_checkpoint(checkpoint_, weights);
  check_all_used(*imported_, weights);
  for (const CheckpointTensor& tensor : weights) read_imported(*imported_, tensor);
}

std::shared_ptr<const data::Tokenizer> StartPoint::tokenizer() const {
  if (imported_ != nullptr) return own_tokenizer(folder_, vocabulary_);
  if (tokenizer_hash_.empty()) return nullptr;
  return read_tokenizer({folder_}, tokenizer_hash_, recipe_.registry->tokenizers);
}

std::optional<data::ChatForm> StartPoint::chat() const {
  return imported_ != nullptr ? std::nullopt : read_chat({folder_});
}

StartPoint open_start(const fs::path& named, std::shared_ptr<const Registry> registry) {
  StartPoint start;
  const fs::path path = fs::absolute(named);
  const bool is_checkpoint = is_file(path) && update_of(path) >= 0;
  const fs::path run = is_checkpoint ? path.parent_path().parent_path() : path;
  if (is_file(RunFolder{run}.recipe())) {
    start.checkpoint_ = is_checkpoint ? path : chosen_checkpoint(run);
    const CheckpointInfo info = read_checkpoint_info(start.checkpoint_);
    start.recipe_ = read_recipe_at({run}, info, {}, std::move(registry));
    start.tokenizer_hash_ = info.tokenizer_hash;
    start.vocabulary_ = info.vocabulary;
    start.folder_ = run;
    start.came_with_ = came_with(run);
    return start;
  }
  if (!is_file(path / "config.json")) {
    parallel::user_error(path.string(),
                         " is nothing to start from; legal: a run folder (recipe.toml), a checkpoint in ",
                         "one, or a Hugging Face folder (config.json)");
  }
  start.imported_ = std::make_shared<const interchange::ImportedModel>(path);
  start.recipe_ = recipe_of(*start.imported_, std::move(registry));
  start.vocabulary_ = start.recipe_.model.vocabulary;
  start.folder_ = path;
  start.came_with_ = files_of(path);
  const auto tokenizer = own_tokenizer(path, start.recipe_.model.vocabulary);
  if (tokenizer != nullptr) start.tokenizer_hash_ = data::tokenizer_hash(*tokenizer);
  return start;
}

std::function<Recipe(const Recipe& read)> recipe_of_start(std::shared_ptr<const Registry> registry) {
  return [registry](const Recipe& read) {
    // A run that has saved says itself what its model is; its start may be gone by then.
    if (!checkpoint_updates(read.run.folder).empty() && is_file(RunFolder{read.run.folder}.recipe())) {
      return read_run_recipe({read.run.folder}, {}, registry);
    }
    return open_start(read.train.start, registry).recipe();
  };
}

std::map<std::string, std::string> came_with(const fs::path& run_folder) {
  const fs::path folder = RunFolder{run_folder}.came_with();
  std::error_code error;
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    files[entry.path().filename()] = interchange::read_small_file(entry.path(), interchange::kLargestSmallFile);
  }
  return files;
}

void keep_came_with(const fs::path& run_folder, const std::map<std::string, std::string>& files) {
  if (files.empty()) return;
  const fs::path folder = RunFolder{run_folder}.came_with();
  std::error_code error;
  fs::create_directories(folder, error);
  for (const auto& [name, text] : files) write_file(folder / name, text);
}

}  // namespace launch
