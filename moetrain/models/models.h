// defines: builtin_models, ModelInput, ModelMaker, ModelPreset, ModelEnds, Reads, make_model, check_without_encoder:
// the kinds of models
#pragma once
#include <memory>
#include <vector>

#include "moetrain/models/model.h"
#include "parallel/base/name_table.h"

namespace moetrain {

struct ModelInput {
  const ModelConfig& config;
  const MoeConfig& moe;
  int64_t vocabulary = 0;
  const ParameterSource& source;
  const MoeTables& tables;
};

using ModelMaker = std::shared_ptr<Model> (*)(const ModelInput& input);

template <class Kind>
std::shared_ptr<Model> make_model(const ModelInput& input) {
  return std::make_shared<Kind>(input.config, input.moe, input.vocabulary, input.source, input.tables);
}

/// What of a token file a model reads, and is to predict.
enum class Reads {
  kText,       // windows of it: the next token
  kPairs,      // sentence pairs: the translation
  kDocuments,  // whole documents: the group
  kImages,     // images: what noise was added
};

/// What a model has before and behind its blocks: for planning.
struct ModelEnds {
  bool embeds = true;     // ids, by a table whose rows a tensor group shares; else something small of each token
  int64_t predicted = 0;  // numbers of a target, by a table that is whole on every rank; 0: logits of the vocabulary,
                          // which a tensor group shares
  bool of_sequences = false;  // a target is a whole sequence
  bool gathers = true;        // the tensor group's tokens behind the blocks
};

struct ModelPreset {
  ModelMaker make = nullptr;
  Reads reads = Reads::kText;
  bool pre_gates = false;  // has a router at its entrance where layers ask for one
  /// Of its blocks, in the order of their numbers.
  std::vector<StackShape> (*stacks)(const ModelConfig& config) = nullptr;
  ModelEnds (*ends)(const ModelConfig& config) = [](const ModelConfig&) { return ModelEnds(); };
  /// Where it reads documents or images.
  DocumentShape (*documents)(const ModelConfig& config) = [](const ModelConfig&) { return DocumentShape(); };
  /// What only this model knows: its own table [model.NAME] in a recipe, and what it refuses of [model].
  parallel::OwnKeyList keys = nullptr;
  void (*check)(const ModelConfig& config) = nullptr;
};

/// UserError where a recipe gives one to a model that has none.
void check_without_encoder(const ModelConfig& config);

/// model.kind -> what it is. A program outside the tree adds its own rows.
parallel::NameTable<ModelPreset> builtin_models();

}  // namespace moetrain
