#include "moetrain/models/model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/layers/dropout.h"
#include "moetrain/moe/expert_blocks.h"
#include "parallel/base/fault.h"

namespace moetrain {

TokenSide TokenSide::whole(const at::Tensor& ids_SL) {
  return {.ids_T = ids_SL.flatten(),
          .sequences = Sequences::uniform(ids_SL.size(0), ids_SL.size(1), ids_SL.device()),
          .global_tokens = ids_SL.numel(),
          .global_sequences = ids_SL.size(0)};
}

parallel::TokenParts Model::parts(int64_t things) const {
  return mesh_->shape().tensor > 1 ? parallel::TokenParts(mesh_->tensor(), things) : parallel::TokenParts();
}

BatchScope Model::scope_of(const TokenSide& side, const PassScope& pass) const {
  const parallel::TokenParts parts = this->parts(side.sequences.tokens());
  const at::Tensor number_S =
      side.sequence_number_S.defined()
          ? side.sequence_number_S
          : at::arange(side.first_sequence, side.first_sequence + side.sequences.count(), at::kLong);
  return {.group = pass.group,
          .global_tokens = side.global_tokens,
          .training = pass.training,
          .first_token = side.first_token + parts.first(),
          .draws = pass.draws,
          .update = pass.update,
          .earlier_choices = pass.earlier_choices,
          .observer = pass.observer,
          .global_sequences = side.global_sequences,
          .sequence_T = number_S.index_select(0, parts.own(side.sequences.sequence_T())),
          .sequences = side.sequences,
          .number_S = number_S,
          .task_S = side.task_S,
          .task_T = side.task_S.defined() ? side.task_S.index_select(0, parts.own(side.sequences.sequence_T()))
                                          : at::Tensor(),
          .longest = std::max(side.longest, side.sequences.longest()),
          .token_ids_T = side.ids_T.defined() ? parts.own(side.ids_T) : at::Tensor(),
          .parts = parts};
}

Embedding::Embedding(const ParameterSource& source, int64_t vocabulary, const ModelConfig& config)
    : vocabulary_(vocabulary, source.mesh()), dropout_(config.dropout) {
  weight_WD = register_parameter("weight", source.spread("weight", {vocabulary, config.width}, 0, config.init_std));
  source.call_vectors("weight");
}

at::Tensor Embedding::forward(const at::Tensor& ids_G, const BatchScope& scope, const char* place) const {
  const at::Tensor x_TD = scope.parts.sum(vocabulary_.embed(ids_G, weight_WD));
  if (!scope.training || dropout_ == 0) return x_TD;
  return dropout(x_TD, dropout_, scope.draws.stream(place, 0), scope.first_token);
}

Model::Model(const ModelConfig& config, const MoeConfig& moe, const ParameterSource& source)
    : config_(config),
      moe_config_(moe),
      placements_(source.placements()),
      vectors_(source.vectors()),
      adapters_(source.adapters()),
      mesh_(source.mesh()) {}

void Model::add_embedding(const ParameterSource& source, int64_t vocabulary) {
  embedding_ = register_module("embedding", std::make_shared<Embedding>(source.at("embedding"), vocabulary, config_));
}

void Model::add_pre_gate(const ParameterSource& source, int64_t vocabulary) {
  const std::vector<MoeConfig> layers = pre_gated_layers(all_layer_configs(moe_config_, total_blocks(config_)));
  if (layers.empty()) return;
  pre_gate_ = register_module("pre_gate",
                              std::make_shared<PreGate>(source.at("pre_gate"), layers.front().own<PreGateConfig>(),
                                                        PreGate::Shape{.vocabulary = vocabulary,
                                                                       .experts = expert_kinds(layers.front()).total(),
                                                                       .layers = std::ssize(layers),
                                                                       .std = config_.init_std}));
}

const OutputHead& Model::head() const {
  parallel::check_internal(head_ != nullptr, "a model of kind ", config_.kind, " has no head");
  return *head_;
}

std::shared_ptr<Norm> Model::add_norm(const ParameterSource& source, const std::string& name) {
  return register_module(name,
                         std::make_shared<Norm>(source.at(name), config_.norm, config_.width, config_.norm_epsilon));
}

at::Tensor Model::for_head(const at::Tensor& x_TD) const {
  const at::Tensor normed_TD = final_norm_->forward(x_TD);
  return config_.scaled_head ? normed_TD * (1.0 / std::sqrt(static_cast<double>(config_.width))) : normed_TD;
}

void Model::add_head(const ParameterSource& source) {
  final_norm_ = add_norm(source, "final_norm");
  head_ = config_.tie_embeddings
              ? std::make_shared<OutputHead>(embedding_->weight_WD, embedding_->vocabulary())
              : std::make_shared<OutputHead>(source.at("head"), config_.width, vocabulary(), config_.init_std);
  if (!config_.tie_embeddings) register_module("head", head_);
}

void Model::add_head(const ParameterSource& source, int64_t classes) {
  final_norm_ = add_norm(source, "final_norm");
  head_ = register_module("head", OutputHead::of_classes(source.at("head"), config_.width, classes, config_.init_std));
}

std::vector<std::optional<parallel::MatrixParts>> Model::matrices() const {
  std::vector<std::optional<parallel::MatrixParts>> all;
  for (const auto& parameter : named_parameters()) {
    all.emplace_back();
    if (parameter.value().dim() < 2 || vectors_->contains(parameter.key())) continue;
    const auto found = placements_->find(parameter.key());
    all.back().emplace(
        found != placements_->end() ? found->second : parallel::whole_placement(parameter.value().sizes().vec()),
        mesh_);
  }
  return all;
}

void Model::after_update(const std::vector<at::Tensor>& choices) {
  for (const auto& module : modules(/*include_self=*/false)) {
    auto* layer = dynamic_cast<RoutedLayer*>(module.get());
    if (layer != nullptr) layer->after_update(choices.at(static_cast<size_t>(layer->site().number())));
  }
}

}  // namespace moetrain
