// defines: DiffusionTransformer, DiffusionConfig: what of a noised image is noise, from its patches, its noise and its
// class
#pragma once
#include <memory>
#include <vector>

#include "moetrain/models/block_stack.h"

namespace moetrain {

struct DiffusionConfig {
  int64_t height = 28;
  int64_t image_width = 28;
  int64_t channels = 1;
  int64_t patch = 2;
  int64_t classes = 10;
  bool learned_variance = false;

  PatchGrid grid() const { return {height, image_width, channels, patch}; }
  int64_t predicted() const { return grid().numbers() * (learned_variance ? 2 : 1); }  // of a patch
};

template <class Visitor>
void visit(DiffusionConfig& config, Visitor& field) {
  using namespace parallel;
  field("height", config.height, between(1, 4096), "of the token file's images, in pixels");
  field("image_width", config.image_width, between(1, 4096), "likewise");
  field("channels", config.channels, between(1, 3), "1: grey, 3: colours");
  field("patch", config.patch, between(1, 256), "side of the squares that are the model's tokens");
  field("classes", config.classes, between(1, 1 << 20), "groups of the token file, which an image is asked for by");
  field("learned_variance", config.learned_variance, anything(),
        "predicts that of each step too, as objective.kind = ddpm wants it");
}

/// DiT (Peebles and Xie 2023), with experts as DiT-MoE (Fei et al. 2024) where moe.layers says so. Tokens are patches,
/// x = W patch + position (sines and cosines of row and column); the condition of an image is that of its time (a
/// two-layer network of sines and cosines) plus its class's vector, the last of which stands for no class. Blocks see
/// the whole image and are modulated by the condition; so is the last norm. Its output is [T, predicted()], what is
/// said of variances last. Our norms keep their weights, and attention has no bias. Parameters besides the blocks':
/// patches.weight [D, C], time_first.weight [D, 256], time_second.weight [D, D], classes [classes + 1, D], final_norm,
/// final_modulation, output.weight [predicted(), D], zeros at the start.
class DiffusionTransformer : public Model {
 public:
  DiffusionTransformer(const ModelConfig& config, const MoeConfig& moe, int64_t vocabulary,
                       const ParameterSource& source, const MoeTables& tables);
  static std::vector<StackShape> stacks(const ModelConfig& config) {
    return {{.name = "blocks", .blocks = config.layers, .causal = false, .modulated = true}};
  }

  static DocumentShape documents_of(const ModelConfig& config) {
    const auto& own = config.own<DiffusionConfig>();
    return {.classes = own.classes, .images = own.grid(), .variances = own.learned_variance};
  }
  DocumentShape documents() const override { return documents_of(config()); }

  /// Reads tokens.value_TC, time_S and class_S. Collective over the pass's group.
  ModelOutput forward(const ModelInputs& inputs, const PassScope& pass) override;

 private:
  const DiffusionConfig& diffusion() const { return config().own<DiffusionConfig>(); }
  at::Tensor condition(const at::Tensor& time_S, const at::Tensor& class_S) const;

  std::shared_ptr<Linear> patches_, time_first_, time_second_, output_;
  std::shared_ptr<BlockStack> blocks_;
  std::shared_ptr<Modulation> final_modulation_;
  at::Tensor class_KD_;
  at::Tensor position_ND_;  // [patches of an image, D]
};

}  // namespace moetrain
