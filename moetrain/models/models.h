// defines: builtin_models, ModelInput, ModelMaker: the kinds of models
#pragma once
#include <memory>

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

/// model.kind -> maker: "decoder_lm", "encoder_decoder".
parallel::NameTable<ModelMaker> builtin_models();

}  // namespace moetrain
