#include "moetrain/models/decoder_lm.h"

#include <ATen/ATen.h>

#include <utility>

#include "moetrain/moe/expert_blocks.h"

namespace moetrain {
namespace {

/// Holds the embedding's weight under the name "embedding.weight".
struct Embedding : torch::nn::Module {
  Embedding(const ParameterSource& source, int64_t vocabulary, int64_t width, double std)
      : weight_VD(register_parameter("weight", source.normal("weight", {vocabulary, width}, std))) {}
  at::Tensor weight_VD;
};

struct BlockList : torch::nn::Module {
  void add(size_t index, std::shared_ptr<TransformerBlock> block) {
    register_module(std::to_string(index), std::move(block));
  }
};

}  // namespace

DecoderLm::DecoderLm(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary, const ParameterSource& source,
                     const parallel::NameTable<RouterPreset>& routers)
    : config_(config), moe_config_(moe) {
  auto embedding = std::make_shared<Embedding>(source.at("embedding"), vocabulary, config.width, config.init_std);
  embedding_VD_ = register_module("embedding", std::move(embedding))->weight_VD;
  auto list = register_module("blocks", std::make_shared<BlockList>());
  const std::vector<bool> has_experts = expert_blocks(moe.layers, config.layers);
  for (size_t i = 0; i < has_experts.size(); ++i) {
    const auto layer = static_cast<int64_t>(i);
    const MoeConfig block = has_experts[i] ? for_layer(moe, layer, config.layers) : moe;
    blocks_.push_back(std::make_shared<TransformerBlock>(source.at("blocks").at(std::to_string(i)), config,
                                                         has_experts[i] ? &block : nullptr, layer, routers));
    list->add(i, blocks_.back());
  }
  final_norm_ = register_module("final_norm", std::make_shared<Norm>(source.at("final_norm"), parse_norm(config.norm),
                                                                     config.width, config.norm_epsilon));
  head_ = config.tie_embeddings
              ? std::make_shared<OutputHead>(embedding_VD_)
              : std::make_shared<OutputHead>(source.at("head"), config.width, vocabulary, config.init_std);
  if (!config.tie_embeddings) register_module("head", head_);
}

ModelOutput DecoderLm::forward(const at::Tensor& tokens_SL, const BatchScope& scope) {
  return run(tokens_SL, scope, nullptr);
}

at::Tensor DecoderLm::decode(const at::Tensor& tokens_SL, const BatchScope& scope, std::vector<KeyValueCache>& caches) {
  caches.resize(blocks_.size());
  return run(tokens_SL, scope, &caches).hidden_TD;
}

ModelOutput DecoderLm::run(const at::Tensor& tokens_SL, const BatchScope& scope, std::vector<KeyValueCache>* caches) {
  ModelOutput output;
  BatchScope here = scope;
  const Sequences sequences = Sequences::uniform(tokens_SL.size(0), tokens_SL.size(1), tokens_SL.device());
  here.sequence_T = sequences.sequence_T() + scope.first_token / tokens_SL.size(1);
  here.global_sequences = scope.global_tokens / tokens_SL.size(1);
  here.token_ids_T = tokens_SL.flatten();
  at::Tensor x_TD = at::embedding(embedding_VD_, here.token_ids_T);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    auto [out_TD, moe] =
        blocks_[i]->forward(x_TD, tokens_SL.size(1), here, caches != nullptr ? &(*caches)[i] : nullptr);
    x_TD = out_TD;
    if (!moe) continue;
    output.losses.add_all(moe->losses);
    output.routing.push_back({static_cast<int64_t>(i), std::move(moe->decision)});
  }
  output.hidden_TD = final_norm_->forward(x_TD);
  return output;
}

ParameterCount DecoderLm::parameter_count() const { return moetrain::parameter_count(*this); }

}  // namespace moetrain
