// Adapters of linear layers and of experts.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/layers/linear.h"
#include "moetrain/moe/moe_layer.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

const LoraConfig kLora{.layers = "*", .rank = 3, .alpha = 4.5};

ParameterSource lora_source(const LoraConfig& config) {
  return ParameterSource(3, at::kDouble, nullptr, config).at("m");
}

/// B is zeros at first, where A has no gradient.
void draw_b(torch::nn::Module& module) {
  const at::NoGradGuard no_gradient;
  for (auto& parameter : module.named_parameters()) {
    if (parameter.key().ends_with("lora_b"))
      parameter.value().copy_(random_tensor(parameter.key(), parameter.value().sizes()));
  }
}

void freeze_base(torch::nn::Module& module) {
  for (auto& parameter : module.named_parameters()) {
    parameter.value().requires_grad_(parameter.key().find("lora_") != std::string::npos);
  }
}

std::vector<at::Tensor> trained_of(torch::nn::Module& module) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& parameter : module.parameters()) {
    if (parameter.requires_grad()) all.push_back(parameter);
  }
  return all;
}

TEST(Lora, AddsNothingAtFirstAndThenAlphaOverRankTimesBA) {
  const at::Tensor x = random_tensor("lora x", {7, 5});
  Linear plain(ParameterSource(3, at::kDouble).at("m"), 5, 4, 0.5, Spread::kNone, Bias::kYes);
  Linear adapted(lora_source(kLora), 5, 4, 0.5, Spread::kNone, Bias::kYes);
  EXPECT_TRUE(at::equal(adapted.forward(x), plain.forward(x)));
  const double bound = adapted.lora_a.abs().max().item<double>();
  EXPECT_LE(bound, 1 / std::sqrt(5.0));
  EXPECT_GE(bound, 0.7 / std::sqrt(5.0));
  draw_b(adapted);
  const at::Tensor weight = plain.weight + at::mm(adapted.lora_b, adapted.lora_a) * 1.5;
  EXPECT_TRUE(at::allclose(adapted.forward(x), at::linear(x, weight, plain.bias), 0, 1e-13));
  EXPECT_TRUE(at::allclose(adapted.forward(x, 1, 2), at::linear(x, weight, plain.bias).narrow(1, 1, 2), 0, 1e-13));
}

TEST(Lora, LinearHasTheGradientsOfDifferences) {
  Linear layer(lora_source(kLora), 5, 4, 0.5);
  draw_b(layer);
  freeze_base(layer);
  const at::Tensor x = random_tensor("lora x", {7, 5}), probe = random_tensor("lora probe", {7, 4});
  expect_gradients([&] { return (layer.forward(x) * probe).sum(); }, trained_of(layer));
  EXPECT_FALSE(layer.weight.grad().defined());
}

struct ExpertCase {
  const char* name;
  const char* expert;
  Activation activation;
  const char* layers;
};

class LoraExperts : public testing::TestWithParam<ExpertCase> {};

TEST_P(LoraExperts, HaveTheGradientsOfDifferencesAndTheOutputOfMergedWeights) {
  MoeConfig config{.experts = 5, .top_k = 2, .hidden = 6};
  config.expert = GetParam().expert;
  const MoeLayer::Shape shape{4, GetParam().activation, 0.8, 0.9};
  const LoraConfig lora{.layers = GetParam().layers, .rank = 2, .alpha = 3};
  MoeLayer layer(lora_source(lora), config, shape, MoeTables());
  draw_b(layer);
  freeze_base(layer);
  parallel::LocalCommunicator group;
  const at::Tensor tokens = random_tensor("lora tokens", {23, 4}), probe = random_tensor("lora out", {23, 4});
  const auto out = [&](MoeLayer& of) { return of.forward(tokens, {group, tokens.size(0), false}).out_TD; };
  expect_gradients([&] { return (out(layer) * probe).sum(); }, trained_of(layer), 1e-6, 24);
  MoeLayer merged(ParameterSource(3, at::kDouble).at("m"), config, shape, MoeTables());
  const at::NoGradGuard no_gradient;
  auto parameters = layer.named_parameters();
  int64_t adapted = 0;
  for (auto& parameter : merged.named_parameters()) {
    const at::Tensor* a = parameters.find(parameter.key() + "_lora_a");
    if (a == nullptr) continue;
    ++adapted;
    parameter.value().add_(at::bmm(*a, parameters[parameter.key() + "_lora_b"]), 1.5);
  }
  EXPECT_GT(adapted, 0);
  EXPECT_TRUE(at::allclose(out(layer), out(merged), 0, 1e-12));
}

INSTANTIATE_TEST_SUITE_P(All, LoraExperts,
                         testing::Values(ExpertCase{"swiglu", "feed_forward", Activation::kSwiglu, "m.experts.*"},
                                         ExpertCase{"down_alone", "feed_forward", Activation::kSwiglu, "*.down"},
                                         ExpertCase{"gelu", "feed_forward", Activation::kGelu, "*"},
                                         ExpertCase{"clamped", "clamped_swiglu", Activation::kSwiglu, "*.gate, *.up"}),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Lora, FitsLinearLayersAlone) {
  const LoraConfig config{.layers = "m, *.norm"};
  const ParameterSource source = lora_source(config);
  const Linear layer(source, 5, 4, 0.5);
  EXPECT_TRUE(layer.lora_a.defined());
  EXPECT_TRUE(source.adapters()->has_parameter("m.lora_b"));
  EXPECT_FALSE(source.adapters()->has_parameter("m.weight"));
  try {
    source.adapters()->check_all_found();
    FAIL() << "a norm has no adapter";
  } catch (const parallel::UserError& error) {
    EXPECT_STREQ(error.what(), "lora.layers: '*.norm' fits none of the model's 1 linear layers; nearest: m");
  }
}

}  // namespace
}  // namespace moetrain
