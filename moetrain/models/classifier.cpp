#include "moetrain/models/classifier.h"

#include <ATen/ATen.h>

#include "moetrain/models/models.h"

namespace moetrain {

Classifier::Classifier(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary,
                       const ParameterSource& source, const MoeTables& tables)
    : Model(config, moe, source) {
  add_embedding(source, vocabulary);
  const StackShape blocks = stacks(config).front();
  blocks_ =
      register_module(blocks.name, std::make_shared<BlockStack>(source.at(blocks.name), config, moe, blocks, tables));
  add_head(source, config.own<ClassifierConfig>().classes);
}

ModelOutput Classifier::forward(const ModelInputs& inputs, const PassScope& pass) {
  ModelOutput output;
  const TokenSide& tokens = inputs.tokens;
  const BatchScope scope = scope_of(tokens, pass);
  const at::Tensor x_TD = embedding_->forward(tokens.ids_T, scope, "dropout, embedding");
  const BlockStack::Context context{.scope = scope, .recompute = pass.recompute};
  const at::Tensor hidden_GD = scope.parts.gather(final_norm_->forward(blocks_->forward(x_TD, context, output)));
  const at::Tensor pooled_SD = tokens.sequences.pooled(hidden_GD, config().own<ClassifierConfig>().pool);
  output.hidden_TD = scope.parts.of(tokens.sequences.count()).own(pooled_SD);
  return output;
}

ModelPreset classifier() {
  return {.make = make_model<Classifier>,
          .reads = Reads::kDocuments,
          .stacks = Classifier::stacks,
          .ends =
              [](const ModelConfig& config) {
                return ModelEnds{.predicted = config.own<ClassifierConfig>().classes, .of_sequences = true};
              },
          .documents = Classifier::documents_of,
          .keys = parallel::own_keys_of<ClassifierConfig>,
          .check = check_without_encoder};
}

}  // namespace moetrain
