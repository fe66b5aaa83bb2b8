#include "moetrain/models/diffusion_transformer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "moetrain/objectives/diffusion.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kDitImages = 3;

ModelConfig dit_config() {
  ModelConfig config{
      .kind = "diffusion_transformer", .layers = 2, .width = 8, .heads = 2, .kv_heads = 2, .ffn_hidden = 12};
  config.norm = "layer";
  config.own<DiffusionConfig>() = {.height = 4, .image_width = 6, .channels = 1, .patch = 2, .classes = 3};
  return config;
}

MoeConfig dit_experts() {
  return {.experts = 4,
          .top_k = 2,
          .hidden = 5,
          .gate = "raw",
          .shared_hidden = 6,
          .shared_gate = false,
          .losses = {{"load_balance", 0}, {"router_z", 0}}};
}

std::shared_ptr<DiffusionTransformer> dit(const MoeConfig& moe = dit_experts()) {
  return std::make_shared<DiffusionTransformer>(dit_config(), moe, 0, ParameterSource(3, at::kDouble), MoeTables());
}

Batch dit_batch() {
  const int64_t patches = 6;
  const at::Tensor class_S = at::tensor({0, 2, 1}, at::kLong);
  return {.inputs = {.tokens = {.value_TC = random_tensor("dit images", {kDitImages * patches, 4}),
                                .sequences = Sequences::uniform(kDitImages, patches, at::kCPU),
                                .global_tokens = kDitImages * patches,
                                .global_sequences = kDitImages},
                     .class_S = class_S},
          .targets_G = class_S.repeat_interleave(patches)};
}

/// Sets every parameter that begins at zero to noise, so that nothing is hidden behind a zero.
void fill_zeros(torch::nn::Module& model) {
  const at::NoGradGuard no_gradient;
  for (auto& parameter : model.named_parameters()) {
    if (parameter.value().abs().max().item<double>() > 0) continue;
    parameter.value().copy_(random_tensor(parameter.key(), parameter.value().sizes()) * 0.5);
  }
}

/// adaLN-zero: at the start every block is the identity and the prediction is zero, so that the loss is that of
/// predicting nothing; its gradient reaches the output alone.
TEST(DiffusionTransformer, BeginsAsTheIdentityAndPredictsNothing) {
  parallel::LocalCommunicator group;
  const auto model = dit();
  const auto objective = builtin_objectives().at("rectified_flow").make({ObjectiveConfig{}, nullptr});
  const Batch batch = dit_batch();
  const ObjectiveOutput output =
      objective->forward(*model, batch, {.group = group, .training = true, .draws = {.seed = 4}}, {.targets = 18});
  torch::autograd::backward({output.losses.sum()}, {});
  ASSERT_EQ(output.losses.terms().front().name, "flow");
  EXPECT_NEAR(output.losses.terms().front().share.item<double>(), output.nll_T.mean().item<double>(), 1e-12);
  EXPECT_GT(output.nll_T.mean().item<double>(), 0.5);
  for (const auto& parameter : model->named_parameters()) {
    const double largest = parameter.value().grad().defined() ? parameter.value().grad().abs().max().item<double>() : 0;
    EXPECT_EQ(largest > 0, parameter.key() == "output.weight") << parameter.key();
  }
}

/// The formula of DiT-MoE, written out for one block's second half.
TEST(DiffusionTransformer, WithoutRoutedGatesABlockIsItsSharedExpert) {
  parallel::LocalCommunicator group;
  const auto model = dit();
  fill_zeros(*model);
  const Batch batch = dit_batch();
  ModelInputs inputs = batch.inputs;
  inputs.time_S = at::tensor({0.1, 0.5, 0.9}, at::kDouble);
  const auto forward = [&] { return model->forward(inputs, {.group = group}).hidden_TD.detach(); };
  const at::Tensor with_experts = forward();
  {
    const at::NoGradGuard no_gradient;
    for (auto& parameter : model->named_parameters()) {
      if (parameter.key().find("experts.down") != std::string::npos) parameter.value().zero_();
    }
  }
  const at::Tensor without = forward();
  EXPECT_GT((with_experts - without).abs().max().item<double>(), 1e-6);
  const at::Tensor again = forward();
  EXPECT_TRUE(again.equal(without));
}

TEST(DiffusionTransformer, TimeClassAndPlaceMatter) {
  parallel::LocalCommunicator group;
  const auto model = dit();
  fill_zeros(*model);
  ModelInputs inputs = dit_batch().inputs;
  inputs.time_S = at::tensor({0.1, 0.5, 0.9}, at::kDouble);
  const auto apart = [&](const ModelInputs& other) {
    const at::Tensor a = model->forward(inputs, {.group = group}).hidden_TD,
                     b = model->forward(other, {.group = group}).hidden_TD;
    return (a - b).abs().view({kDitImages, -1}).amax(1);
  };
  ModelInputs later = inputs, other_class = inputs;
  later.time_S = at::tensor({0.1, 0.5, 0.8}, at::kDouble);
  other_class.class_S = at::tensor({3, 2, 1}, at::kLong);  // none
  EXPECT_GT(apart(later)[2].item<double>(), 1e-6);
  EXPECT_EQ(apart(later)[0].item<double>(), 0);  // images know nothing of each other
  EXPECT_GT(apart(other_class)[0].item<double>(), 1e-6);
  EXPECT_EQ(apart(other_class)[1].item<double>(), 0);
  ModelInputs same = inputs;
  same.tokens.value_TC = at::ones_like(inputs.tokens.value_TC);
  const at::Tensor out_SNC = model->forward(same, {.group = group}).hidden_TD.view({kDitImages, 6, 4});
  EXPECT_GT((out_SNC.select(1, 0) - out_SNC.select(1, 5)).abs().max().item<double>(), 1e-6);
}

at::Tensor sample_flow(Model& model, const at::Tensor& class_S, const ImageSampling& options) {
  return builtin_objectives().at("rectified_flow").sample(model, {}, class_S, options);
}

/// A model whose prediction is a constant c moves noise e to e - c, whatever the number of steps.
TEST(RectifiedFlowSampler, FollowsWhatTheModelPredicts) {
  const auto model = dit();
  const at::Tensor class_S = at::tensor({0, 1}, at::kLong);
  const at::Tensor noise = sample_flow(*model, class_S, {.steps = 3, .guidance = 1, .seed = 7});
  ASSERT_EQ(noise.sizes(), at::IntArrayRef({2, 4, 6, 1}));
  EXPECT_TRUE(noise.equal(sample_flow(*model, class_S, {.steps = 5, .guidance = 2, .seed = 7})));  // it predicts 0
  EXPECT_FALSE(noise.equal(sample_flow(*model, class_S, {.steps = 3, .guidance = 1, .seed = 8})));
  EXPECT_NEAR(noise.square().mean().item<double>(), 1, 0.5);
  fill_zeros(*model);
  const at::Tensor guided = sample_flow(*model, class_S, {.steps = 4, .guidance = 3, .seed = 7});
  EXPECT_GT((guided - sample_flow(*model, class_S, {.steps = 4, .guidance = 1, .seed = 7})).abs().max().item<double>(),
            1e-6);
  // An image depends on its own class and place alone.
  const at::Tensor alone = sample_flow(*model, class_S.narrow(0, 0, 1), {.steps = 4, .guidance = 3, .seed = 7});
  EXPECT_TRUE(at::allclose(alone[0], guided[0], 1e-10, 1e-12));
}

/// The bound of a model that says nothing, by numbers: of step t the variance lies in the middle, in logarithms, of
/// beta and the posterior's, and the mean is off by what the noise that was not found moves it.
TEST(Ddpm, TheBoundIsThatOfTheFormula) {
  parallel::LocalCommunicator group;
  ModelConfig config = dit_config();
  config.own<DiffusionConfig>().learned_variance = true;
  const auto model =
      std::make_shared<DiffusionTransformer>(config, dit_experts(), 0, ParameterSource(3, at::kDouble), MoeTables());
  const auto objective = builtin_objectives().at("ddpm").make({ObjectiveConfig{}, nullptr});
  const Batch batch = dit_batch();
  const PassScope pass{.group = group, .draws = {.seed = 4}};
  const ObjectiveOutput output = objective->forward(*model, batch, pass, {.targets = 18});
  ASSERT_EQ(output.losses.terms().size(), 2u);
  const at::Tensor noise = noise_of(batch.inputs.tokens, pass);
  EXPECT_NEAR(output.losses.terms()[0].share.item<double>(), noise.square().mean().item<double>(), 1e-12);
  const at::Tensor uniform_S = uniform_of_sequences(batch.inputs.tokens, pass, "diffusion step");
  double expected = 0;
  for (int64_t s = 0; s < kDitImages; ++s) {
    const auto step = static_cast<int64_t>(uniform_S[s].item<double>() * 1000);
    ASSERT_GT(step, 0);
    double kept = 1, earlier = 1, beta = 0;
    for (int64_t t = 0; t <= step; ++t) {
      beta = 1e-4 + static_cast<double>(t) / 999 * (0.02 - 1e-4);
      earlier = kept;
      kept *= 1 - beta;
    }
    const double least = beta * (1 - earlier) / (1 - kept);
    const double variance = std::sqrt(beta * least);
    for (int64_t e = 0; e < 24; ++e) {
      const double x = batch.inputs.tokens.value_TC.flatten()[s * 24 + e].item<double>();
      const double noised = std::sqrt(kept) * x + std::sqrt(1 - kept) * noise.flatten()[s * 24 + e].item<double>();
      const double apart = beta * std::sqrt(earlier) / (1 - kept) * (x - noised / std::sqrt(kept));
      expected += 0.5 * (std::log(variance / least) - 1 + least / variance + apart * apart / variance) / std::log(2.0);
    }
  }
  EXPECT_NEAR(output.losses.terms()[1].share.item<double>(), expected / (24 * kDitImages), 1e-9);
}

TEST(Ddpm, SamplingStaysInsideTheImagesRange) {
  ModelConfig config = dit_config();
  config.own<DiffusionConfig>().learned_variance = true;
  const auto model =
      std::make_shared<DiffusionTransformer>(config, dit_experts(), 0, ParameterSource(3, at::kDouble), MoeTables());
  const auto sample = builtin_objectives().at("ddpm").sample;
  const at::Tensor class_S = at::tensor({0, 1}, at::kLong);
  const at::Tensor drawn = sample(*model, {}, class_S, {.steps = 20, .guidance = 2, .seed = 7});
  ASSERT_EQ(drawn.sizes(), at::IntArrayRef({2, 4, 6, 1}));
  EXPECT_LE(drawn.abs().max().item<double>(), 1.5);
  EXPECT_TRUE(drawn.equal(sample(*model, {}, class_S, {.steps = 20, .guidance = 2, .seed = 7})));
  EXPECT_FALSE(drawn.equal(sample(*model, {}, class_S, {.steps = 21, .guidance = 2, .seed = 7})));
}

}  // namespace
}  // namespace moetrain
