#include "launch/interchange/model_shape.h"

#include <algorithm>
#include <optional>

#include "launch/recipe/writer.h"
#include "moetrain/moe/expert_blocks.h"

namespace launch::interchange {

std::string spelt_out(const std::vector<bool>& blocks) {
  if (std::ranges::count(blocks, false) == 0) return "all";
  std::string text;
  for (size_t block = 0; block < blocks.size(); ++block) {
    if (blocks[block]) text += (text.empty() ? "" : ",") + std::to_string(block);
  }
  return text.empty() ? "none" : text;
}

bool has_modules(const ModelShape& shape) {
  const auto modules =
      moetrain::expert_blocks(shape.moe, moetrain::total_blocks(shape.model), moetrain::Slot::kAttention);
  return std::ranges::count(modules, true) > 0;
}

namespace {

/// A model whose layers have names, but are of one kind, as one that says so.
void join_alike(ModelShape& shape) {
  const int64_t blocks = moetrain::total_blocks(shape.model);
  if (shape.moe.placement.empty() || has_modules(shape)) return;
  const std::vector<bool> with_experts = moetrain::expert_blocks(shape.moe, blocks);
  std::optional<ModelShape> joined;
  std::vector<std::pair<std::string, std::string>> said;
  for (auto& layer : moetrain::layer_configs(shape.moe, blocks)) {
    if (!layer) continue;
    ModelShape alone = shape;
    alone.moe = *layer;
    alone.moe.name.clear();
    alone.moe.layers = spelt_out(with_experts);
    if (joined && said_of(alone) != said) return;
    said = said_of(alone);
    joined = std::move(alone);
  }
  if (joined) shape = *std::move(joined);
}

void settle_experts(ModelShape& shape) {
  join_alike(shape);
  moetrain::MoeConfig& moe = shape.moe;
  if (!moe.placement.empty()) return;
  const std::vector<bool> with_experts = moetrain::expert_blocks(moe, moetrain::total_blocks(shape.model));
  if (std::ranges::count(with_experts, true) == 0) moe = {};
  moe.layers = spelt_out(with_experts);
  if (std::ranges::count(with_experts, false) == 0) shape.model.ffn_hidden = 1;
  const std::vector<int64_t> numbers = moe.experts_by_layer;
  if (!numbers.empty() && std::ranges::count(numbers, numbers.front()) == std::ssize(numbers)) {
    moe.experts = numbers.front();
    moe.experts_by_layer.clear();
  }
  if (moe.shared_hidden == 0) {
    moe.shared_gate = true;
    moe.shared_combine = moetrain::SharedCombine::kAdd;
  }
}

bool in_training_alone(const std::string& key) {
  static const std::vector<std::string> kKeys = {"model.dropout",    "model.init_std", "model.max_positions",
                                                 "model.vocabulary", "moe.jitter",     "moe.sigmoid_bias.bias_rate",
                                                 "model.start_token"};
  return std::ranges::count(kKeys, key) > 0 || key.starts_with("moe.losses.");
}

}  // namespace

ModelShape canonical(ModelShape shape) {
  settle_experts(shape);
  moetrain::AttentionConfig& attention = shape.model.attending;
  attention.head_width = shape.model.head_width();
  attention.windowed = attention.window > 0 ? spelt_out(moetrain::windowed_blocks(shape.model)) : "all";
  if (attention.windowed == "none") attention.window = 0, attention.windowed = "all";
  shape.model.attention = spelt_out(moetrain::attention_blocks(shape.model));
  return shape;
}

std::vector<std::pair<std::string, std::string>> said_of(const ModelShape& shape) {
  Recipe recipe;
  recipe.model = shape.model;
  recipe.moe = shape.moe;
  for (const std::string& loss : recipe.registry->losses.names()) {
    recipe.moe.losses[loss] = {};
    for (moetrain::MoeConfig& layer : recipe.moe.named) layer.losses[loss] = {};
  }
  std::vector<std::pair<std::string, std::string>> all = written_keys(recipe);
  std::erase_if(all, [&](const auto& said) {
    const std::string& key = said.first;
    const bool of_model = key.starts_with("model.") || key.starts_with("attention.") || key.starts_with("moe.") ||
                          key.starts_with("layer.");
    return !of_model || in_training_alone(key);
  });
  return all;
}

}  // namespace launch::interchange
