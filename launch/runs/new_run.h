// A run folder that is made of weights alone: what an import and a transformation end in. defines: NewRun, make_run
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
#include "launch/recipe/recipe.h"
#include "parallel/comm/communicator.h"

namespace launch {

struct NewRun {
  Recipe recipe;  // model.vocabulary says the rows of the embedding
  std::vector<StreamedTensor> tensors = {};
  std::string tokenizer_hash = {};  // empty: it has none
  std::shared_ptr<const data::Tokenizer> tokenizer = nullptr;
  std::optional<data::ChatForm> chat = {};
  std::map<std::string, std::string> came_with = {};  // see StartPoint

  /// Null: it has none.
  void keep_tokenizer(std::shared_ptr<const data::Tokenizer> kept);
};

/// Makes `folder` of what `prepare` gives on each rank: checkpoint of update 0, resolved recipe, tokenizer. Tensors are
/// streamed: no rank holds more of them than a piece. Collective. Returns the checkpoint's bytes.
/// UserError, before anything is made: a run folder that exists; what `prepare` and the recipe's rules refuse; no room
/// on the disk.
int64_t make_run(const std::filesystem::path& folder, const std::function<NewRun()>& prepare,
                 parallel::Communicator& group);

}  // namespace launch
