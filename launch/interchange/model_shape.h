// defines: ModelShape, canonical, has_modules, said_of, spelt_out: a model as interchange sees it
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "moetrain/config/moe_config.h"
#include "moetrain/models/model_config.h"

namespace launch::interchange {

struct ModelShape {
  moetrain::ModelConfig model;
  moetrain::MoeConfig moe;
  int64_t vocabulary_size = 0;  // rows of the embedding, padding included
  int64_t sequence_length = 0;  // longest sequence trained on
  /// Of a folder: blocks behind the model's own that predict further ahead, and are passed over.
  int64_t next_token_blocks = 0;
};

/// The same model said in one way: what it does not use is at its default, lists of blocks are spelt out.
ModelShape canonical(ModelShape shape);

/// Whether experts stand in the place of some attention.
bool has_modules(const ModelShape& shape);

/// Blocks as a recipe lists them: "all", "none" or "0,2,5".
std::string spelt_out(const std::vector<bool>& blocks);

/// What decides the numbers that a model computes once it is trained, as (key, value), such as ("moe.top_k", "2").
std::vector<std::pair<std::string, std::string>> said_of(const ModelShape& shape);

}  // namespace launch::interchange
