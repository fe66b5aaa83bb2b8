// What a run's weights start from instead of random ones: train.start.
// defines: StartPoint, open_start, recipe_of_start, came_with, keep_came_with
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/chat/chat_template.h"
#include "data/tokenizers/tokenizer.h"
#include "launch/checkpoint/checkpoint.h"
#include "launch/interchange/imported_model.h"
#include "launch/recipe/recipe.h"

namespace launch {

/// A run's newest checkpoint, one of its files, or a Hugging Face folder.
class StartPoint {
 public:
  /// The model that it holds: [model], [attention], [moe] and [lora] of its run, or of config.json.
  const Recipe& recipe() const { return recipe_; }
  /// Empty where it has none.
  const std::string& tokenizer_hash() const { return tokenizer_hash_; }
  /// Null where it has none, or an older run did not keep it.
  std::shared_ptr<const data::Tokenizer> tokenizer() const;
  /// How its run's conversations are written, if it has any.
  std::optional<data::ChatForm> chat() const;
  /// Rows of its embedding.
  int64_t vocabulary() const { return vocabulary_; }
  /// Fills parameters and buffers, whatever else is among `tensors`; each rank reads what it holds. UserError, naming
  /// it, for one that is not there or has another shape; a buffer of a Hugging Face folder that it lacks stays.
  void read(const std::vector<CheckpointTensor>& tensors) const;
  /// Files of the Hugging Face folder that the model came in with, by name and text; see ExportSource.
  const std::map<std::string, std::string>& came_with() const { return came_with_; }

 private:
  friend StartPoint open_start(const std::filesystem::path& path, std::shared_ptr<const Registry> registry);

  Recipe recipe_;
  std::string tokenizer_hash_;
  std::map<std::string, std::string> came_with_;
  int64_t vocabulary_ = 0;
  std::filesystem::path folder_;  // of the run, or the Hugging Face folder
  std::filesystem::path checkpoint_;
  std::shared_ptr<const interchange::ImportedModel> imported_;  // null where it is a checkpoint
};

/// `path`: a run folder, a checkpoint file in one, or a Hugging Face folder. UserError for anything else.
StartPoint open_start(const std::filesystem::path& path, std::shared_ptr<const Registry> registry);

/// What RecipeReading::start asks.
std::function<Recipe(const Recipe& read)> recipe_of_start(std::shared_ptr<const Registry> registry);

/// The files that a run keeps of the folder that its model came from; none where there was none.
std::map<std::string, std::string> came_with(const std::filesystem::path& run_folder);
/// Keeps them.
void keep_came_with(const std::filesystem::path& run_folder, const std::map<std::string, std::string>& files);

}  // namespace launch
