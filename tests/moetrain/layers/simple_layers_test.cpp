// Linear, norms, feed-forward and the source of initial weights against their formulae.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/layers/feed_forward.h"
#include "moetrain/layers/linear.h"
#include "moetrain/layers/norm.h"
#include "moetrain/layers/parameter_source.h"
#include "parallel/base/fault.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

const ParameterSource kSource(11, at::kDouble);

/// Gives every parameter random values, for norms are born with ones and zeros.
void randomize(torch::nn::Module& module) {
  const at::NoGradGuard no_gradient;
  for (const auto& parameter : module.named_parameters()) {
    parameter.value().detach().copy_(random_tensor(parameter.key(), parameter.value().sizes()));
  }
}

at::Tensor weight_of(const torch::nn::Module& module, const std::string& name) {
  return module.named_parameters()[name];
}

void expect_layer_gradients(const torch::nn::Module& module,
                            const std::function<at::Tensor(const at::Tensor&)>& forward, int64_t width) {
  const at::Tensor input = random_tensor("layer input", {5, width}).requires_grad_(true);
  std::vector<at::Tensor> inputs = module.parameters();
  inputs.push_back(input);
  const at::Tensor probe = random_tensor("layer probe", forward(input).sizes());
  expect_gradients([&] { return (forward(input) * probe).sum(); }, inputs);
}

TEST(Linear, MultipliesByTheTransposedWeight) {
  const Linear linear(kSource.at("linear"), 3, 2, 1.0);
  const at::Tensor x = random_tensor("x", {4, 3}), y = linear.forward(x);
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t o = 0; o < 2; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < 3; ++i) sum += x[t][i].item<double>() * linear.weight[o][i].item<double>();
      EXPECT_NEAR(y[t][o].item<double>(), sum, 1e-14);
    }
  }
  EXPECT_EQ(linear.forward(at::empty({0, 3}, at::kDouble)).sizes(), (at::IntArrayRef{0, 2}));
}

TEST(Norm, RmsFollowsItsFormula) {
  Norm norm(kSource.at("rms"), NormKind::kRms, 6, 1e-2);
  randomize(norm);
  const at::Tensor x = random_tensor("x", {4, 6});
  const at::Tensor expected = x / (x.square().mean(1, true) + 1e-2).sqrt() * weight_of(norm, "weight");
  EXPECT_TRUE(at::allclose(norm.forward(x), expected, 1e-13, 1e-14));
  EXPECT_EQ(norm.parameters().size(), 1u);
  expect_layer_gradients(
      norm, [&](const at::Tensor& input) { return norm.forward(input); }, 6);
}

TEST(Norm, LayerFollowsItsFormula) {
  Norm norm(kSource.at("layer"), NormKind::kLayer, 6, 1e-2);
  randomize(norm);
  const at::Tensor x = random_tensor("x", {4, 6}), centred = x - x.mean(1, true);
  const at::Tensor expected =
      centred / (centred.square().mean(1, true) + 1e-2).sqrt() * weight_of(norm, "weight") + weight_of(norm, "bias");
  EXPECT_TRUE(at::allclose(norm.forward(x), expected, 1e-13, 1e-14));
  expect_layer_gradients(
      norm, [&](const at::Tensor& input) { return norm.forward(input); }, 6);
}

TEST(Norm, IsBornAsTheIdentityOfItsGain) {
  const Norm norm(kSource.at("new"), NormKind::kLayer, 3, 1e-5);
  EXPECT_TRUE(weight_of(norm, "weight").equal(at::ones({3}, at::kDouble)));
  EXPECT_TRUE(weight_of(norm, "bias").equal(at::zeros({3}, at::kDouble)));
}

TEST(Norm, NoTokensAndAZeroToken) {
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    const Norm norm(kSource.at("norm"), kind, 3, 1e-5);
    EXPECT_EQ(norm.forward(at::empty({0, 3}, at::kDouble)).sizes(), (at::IntArrayRef{0, 3}));
    EXPECT_TRUE(norm.forward(at::zeros({1, 3}, at::kDouble)).equal(at::zeros({1, 3}, at::kDouble)));
  }
}

TEST(FeedForward, SwigluFollowsItsFormula) {
  const FeedForward layer(kSource.at("swiglu"), {4, 7, Activation::kSwiglu}, 0.8, 0.5);
  const at::Tensor x = random_tensor("x", {5, 4});
  const at::Tensor gate = at::mm(x, weight_of(layer, "gate.weight").t());
  const at::Tensor hidden = gate / (1 + at::exp(-gate)) * at::mm(x, weight_of(layer, "up.weight").t());
  EXPECT_TRUE(at::allclose(layer.forward(x), at::mm(hidden, weight_of(layer, "down.weight").t()), 1e-12, 1e-13));
  expect_layer_gradients(
      layer, [&](const at::Tensor& input) { return layer.forward(input); }, 4);
}

TEST(FeedForward, GeluIsTheExactOne) {
  const FeedForward layer(kSource.at("gelu"), {4, 7, Activation::kGelu}, 0.8, 0.5);
  const at::Tensor x = random_tensor("x", {5, 4}), up = at::mm(x, weight_of(layer, "up.weight").t());
  const at::Tensor hidden = 0.5 * up * (1 + at::erf(up / std::sqrt(2.0)));
  EXPECT_TRUE(at::allclose(layer.forward(x), at::mm(hidden, weight_of(layer, "down.weight").t()), 1e-12, 1e-13));
  EXPECT_EQ(layer.parameters().size(), 2u);
  expect_layer_gradients(
      layer, [&](const at::Tensor& input) { return layer.forward(input); }, 4);
}

TEST(FeedForward, StandardDeviationsAreThoseGiven) {
  const FeedForward layer(kSource.at("wide"), {100, 200, Activation::kSwiglu}, 0.8, 0.1);
  EXPECT_NEAR(weight_of(layer, "gate.weight").std().item<double>(), 0.8, 0.02);
  EXPECT_NEAR(weight_of(layer, "up.weight").std().item<double>(), 0.8, 0.02);
  EXPECT_NEAR(weight_of(layer, "down.weight").std().item<double>(), 0.1, 0.0025);
}

TEST(ParameterSource, ValuesDependOnSeedFullNameAndIndexOnly) {
  const ParameterSource root(11, at::kDouble);
  const at::Tensor value = root.at("blocks").at("0").normal("weight", {3, 4}, 1.0);
  root.normal("other", {100}, 1.0);  // what was drawn before does not count
  EXPECT_TRUE(value.equal(root.at("blocks.0").normal("weight", {3, 4}, 1.0)));
  EXPECT_TRUE(value.equal(root.normal("blocks.0.weight", {3, 4}, 1.0)));
  EXPECT_FALSE(value.equal(root.at("blocks").at("1").normal("weight", {3, 4}, 1.0)));
  EXPECT_FALSE(value.equal(ParameterSource(12, at::kDouble).normal("blocks.0.weight", {3, 4}, 1.0)));
}

// The index is that of the element in the whole tensor, row by row: a tensor with more rows begins with the same
// rows; one with longer rows holds the same numbers at other places.
TEST(ParameterSource, IndexIsTheElementsPlaceInTheWholeTensor) {
  const at::Tensor base = kSource.normal("weight", {3, 4}, 1.0);
  EXPECT_TRUE(kSource.normal("weight", {5, 4}, 1.0).narrow(0, 0, 3).equal(base));
  EXPECT_TRUE(kSource.normal("weight", {2, 2, 3}, 1.0).flatten().equal(base.flatten()));
  const at::Tensor wider = kSource.normal("weight", {2, 6}, 1.0);
  EXPECT_TRUE(wider.flatten().equal(base.flatten()));
  EXPECT_EQ(wider[1][0].item<double>(), base[1][2].item<double>());
}

TEST(ParameterSource, ModelsTypeIsTheRoundedFloat64Draw) {
  const at::Tensor exact = kSource.normal("weight", {50, 4}, 0.02);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor value = ParameterSource(11, type).normal("weight", {50, 4}, 0.02);
    EXPECT_EQ(value.scalar_type(), type);
    EXPECT_TRUE(value.equal(exact.to(type)));
  }
}

TEST(ParameterSource, DrawsHaveTheirStandardDeviation) {
  const at::Tensor value = kSource.normal("large", {300, 300}, 0.02);
  EXPECT_NEAR(value.mean().item<double>(), 0, 4 * 0.02 / 300);
  EXPECT_NEAR(value.std().item<double>(), 0.02, 4 * 0.02 / (300 * std::sqrt(2.0)));
  EXPECT_TRUE(kSource.normal("large", {300}, 0.04).equal(value.flatten().narrow(0, 0, 300) * 2));
  EXPECT_TRUE(kSource.constant("c", {2}, 0.5).equal(at::full({2}, 0.5, at::kDouble)));
}

}  // namespace
}  // namespace moetrain
