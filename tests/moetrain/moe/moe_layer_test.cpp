#include "moetrain/moe/moe_layer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/moetrain/moe/dense_moe.h"
#include "tests/support/gradient_check.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

struct MoeCase {
  const char* name;
  MoeConfig config;
  Activation activation = Activation::kSwiglu;
};

// Weights of the losses far above their defaults, so that a wrong loss shows in every gradient.
MoeConfig small(int64_t top_k, const char* gate) {
  return {
      .experts = 5, .top_k = top_k, .hidden = 6, .gate = gate, .losses = {{"load_balance", 0.7}, {"router_z", 0.3}}};
}

MoeConfig with(MoeConfig config, const char* capacity, double factor, int64_t shared_hidden = 0,
               bool shared_gate = true) {
  config.capacity = capacity;
  config.own<BoundConfig>().factor = factor;
  config.shared_hidden = shared_hidden;
  config.shared_gate = shared_gate;
  return config;
}

MoeConfig with_kinds(MoeConfig config, int64_t constants, int64_t copies, int64_t zeros, int64_t nulls = 0) {
  config.constant_experts = constants;
  config.copy_experts = copies;
  config.zero_experts = zeros;
  config.null_experts = nulls;
  return config;
}

MoeConfig latent(MoeConfig config, int64_t width) {
  config.latent = width;
  return config;
}

MoeConfig of_widths(MoeConfig config, const char* expert) {
  config.expert = expert;
  return config;
}

/// PR-MoE's.
MoeConfig residual(MoeConfig config) {
  config.shared_hidden = 5;
  config.shared_gate = false;
  config.shared_combine = "residual";
  return config;
}

constexpr int64_t kMoeTokens = 23, kMoeWidth = 4;

class MoeLayerTest : public testing::TestWithParam<MoeCase> {
 protected:
  static std::shared_ptr<MoeLayer> layer_of(const MoeConfig& config, Activation activation) {
    const MoeLayer::Shape shape{kMoeWidth, activation, 0.8, 0.9};
    return std::make_shared<MoeLayer>(ParameterSource(3, at::kDouble), config, shape, MoeTables());
  }
  static at::Tensor moe_tokens() { return random_tensor("moe tokens", {kMoeTokens, kMoeWidth}); }
  static MoeOutput alone(MoeLayer& layer, const at::Tensor& tokens_TD, bool training = true) {
    parallel::LocalCommunicator group;
    return layer.forward(tokens_TD, {group, tokens_TD.size(0), training});
  }
  static at::Tensor probed(const at::Tensor& out_TD, const at::Tensor& probe_TD, const LossTerms& losses) {
    const at::Tensor sum = (out_TD * probe_TD).sum();
    return losses.terms().empty() ? sum : sum + losses.sum();
  }
  /// Gradients of the parameters and of `tokens_TD`; the leaves are left without.
  static std::vector<at::Tensor> gradients_of(const at::Tensor& loss, MoeLayer& layer, at::Tensor tokens_TD) {
    std::vector<at::Tensor> leaves = layer.parameters(), gradients;
    leaves.push_back(tokens_TD);
    torch::autograd::backward({loss}, {});
    for (at::Tensor& leaf : leaves) {
      EXPECT_TRUE(leaf.grad().defined());
      gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
      leaf.mutable_grad() = at::Tensor();
    }
    return gradients;
  }
  static void expect_close(const at::Tensor& a, const at::Tensor& b, double tolerance, const std::string& what) {
    ASSERT_EQ(a.sizes(), b.sizes()) << what;
    if (a.numel() == 0) return;
    const double scale = std::max(b.abs().max().item<double>(), 1e-3);
    EXPECT_LE((a - b).abs().max().item<double>() / scale, tolerance) << what;
  }

  const MoeConfig config_ = GetParam().config;
  std::shared_ptr<MoeLayer> layer_ = layer_of(config_, GetParam().activation);
};

TEST_P(MoeLayerTest, EqualsTheDenseOracle) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  const MoeOutput output = alone(*layer_, moe_tokens());
  const DenseMoe dense = dense_moe(*layer_, config_, moe_tokens(), GetParam().activation);
  expect_close(output.out_TD, dense.out_TD, 1e-13, "output");
  ASSERT_EQ(output.losses.terms().size(), 2u);
  EXPECT_EQ(output.losses.terms()[0].name, "load_balance");
  expect_close(output.losses.terms()[0].share, dense.load_balance, 1e-13, "load_balance");
  EXPECT_EQ(output.losses.terms()[1].name, "router_z");
  expect_close(output.losses.terms()[1].share, dense.router_z, 1e-13, "router_z");
  EXPECT_EQ(output.decision.dropped > 0, config_.capacity == "factor" && config_.own<BoundConfig>().factor < 2);
}

TEST_P(MoeLayerTest, GradientsEqualThoseOfTheDenseOracle) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  const at::Tensor tokens = moe_tokens().requires_grad_(true), probe = random_tensor("probe", tokens.sizes());
  const MoeOutput output = alone(*layer_, tokens);
  const auto got = gradients_of(probed(output.out_TD, probe, output.losses), *layer_, tokens);
  const DenseMoe dense = dense_moe(*layer_, config_, tokens, GetParam().activation);
  const auto expected =
      gradients_of((dense.out_TD * probe).sum() + dense.load_balance + dense.router_z, *layer_, tokens);
  for (size_t i = 0; i < got.size(); ++i) expect_close(got[i], expected[i], 1e-12, "input " + std::to_string(i));
}

TEST_P(MoeLayerTest, GradientsEqualFiniteDifferences) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  const at::Tensor tokens = moe_tokens().requires_grad_(true), probe = random_tensor("probe", tokens.sizes());
  std::vector<at::Tensor> inputs = layer_->parameters();
  inputs.push_back(tokens);
  expect_gradients(
      [&] {
        const MoeOutput output = alone(*layer_, tokens);
        return probed(output.out_TD, probe, output.losses);
      },
      inputs, 1e-6, /*samples=*/16);
}

TEST_P(MoeLayerTest, ShardsOverRanksEqualOneRank) {
  const at::Tensor tokens = moe_tokens().requires_grad_(true), probe = random_tensor("probe", tokens.sizes());
  const MoeOutput whole = alone(*layer_, tokens);
  const auto expected = gradients_of(probed(whole.out_TD, probe, whole.losses), *layer_, tokens);
  for (const auto& split : token_splits(kMoeTokens, test_world()->size())) {
    const at::Tensor mine = shard_of(tokens.detach(), split).clone().requires_grad_(true);
    const MoeOutput here = layer_->forward(mine, {*test_world(), kMoeTokens, true});
    expect_close(here.out_TD, shard_of(whole.out_TD, split), 1e-12, "output");
    for (size_t i = 0; i < 2; ++i) {
      expect_close(sum_over_ranks(here.losses.terms()[i].share), whole.losses.terms()[i].share, 1e-12,
                   here.losses.terms()[i].name);
    }
    const auto got = gradients_of(probed(here.out_TD, shard_of(probe, split), here.losses), *layer_, mine);
    for (size_t i = 0; i + 1 < got.size(); ++i) {
      expect_close(sum_over_ranks(got[i]), expected[i], 1e-12, "parameter " + std::to_string(i));
    }
    expect_close(got.back(), shard_of(expected.back(), split), 1e-12, "tokens");
  }
}

TEST_P(MoeLayerTest, EvaluationHasNoLossesAndDropsNothing) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  const at::NoGradGuard no_gradient;
  const MoeOutput output = alone(*layer_, moe_tokens(), /*training=*/false);
  EXPECT_TRUE(output.losses.terms().empty());
  EXPECT_EQ(output.decision.dropped, 0);
  MoeConfig dropless = config_;
  dropless.capacity = "dropless";
  expect_close(output.out_TD, dense_moe(*layer_, dropless, moe_tokens(), GetParam().activation).out_TD, 1e-13,
               "output");
}

TEST_P(MoeLayerTest, NoTokensOnAnyRank) {
  const at::Tensor none = at::empty({0, kMoeWidth}, at::kDouble).requires_grad_(true);
  const MoeOutput output = layer_->forward(none, {*test_world(), kMoeTokens, true});
  EXPECT_EQ(output.out_TD.sizes(), none.sizes());
  for (const at::Tensor& gradient : gradients_of(probed(output.out_TD, none.detach(), output.losses), *layer_, none)) {
    EXPECT_TRUE(gradient.equal(at::zeros_like(gradient)));
  }
}

TEST_P(MoeLayerTest, AllTokensOnOneExpert) {
  if (test_world()->size() > 1) return;  // the same at every rank count
  {
    const at::NoGradGuard no_gradient;
    layer_->named_parameters()["router.weight"].zero_().select(0, 3).fill_(5.0);
  }
  const at::Tensor tokens = moe_tokens().abs().requires_grad_(true), probe = random_tensor("probe", tokens.sizes());
  const MoeOutput output = alone(*layer_, tokens);
  EXPECT_EQ(output.decision.global_choices_E[3].item<int64_t>(), kMoeTokens);
  const auto got = gradients_of(probed(output.out_TD, probe, output.losses), *layer_, tokens);
  const DenseMoe dense = dense_moe(*layer_, config_, tokens, GetParam().activation);
  expect_close(output.out_TD, dense.out_TD, 1e-13, "output");
  const auto expected =
      gradients_of((dense.out_TD * probe).sum() + dense.load_balance + dense.router_z, *layer_, tokens);
  for (size_t i = 0; i < got.size(); ++i) expect_close(got[i], expected[i], 1e-11, "input " + std::to_string(i));
}

INSTANTIATE_TEST_SUITE_P(
    Layers, MoeLayerTest,
    testing::Values(
        MoeCase{"SwigluSum1", small(2, "sum1")}, MoeCase{"SwigluRawTop1", small(1, "raw")},
        MoeCase{"GeluRaw", small(3, "raw"), Activation::kGelu},
        MoeCase{"GeluSum1GatedShared", with(small(2, "sum1"), "dropless", 1, 3), Activation::kGelu},
        MoeCase{"SwigluGatedShared", with(small(2, "raw"), "dropless", 1, 3)},
        MoeCase{"SwigluUngatedShared", with(small(2, "sum1"), "dropless", 1, 7, false)},
        MoeCase{"BoundedSum1", with(small(2, "sum1"), "factor", 0.8)},
        MoeCase{"BoundedRawShared", with(small(2, "raw"), "factor", 0.5, 3)},
        MoeCase{"RoomyBound", with(small(2, "raw"), "factor", 4)},
        MoeCase{"ZeroCopyConstant", with_kinds(small(2, "sum1"), 3, 1, 1)},
        MoeCase{"Nulls", with_kinds(small(4, "raw"), 0, 0, 0, 5), Activation::kGelu},
        MoeCase{"CopiesOnly", with_kinds(small(3, "sum1"), 0, 2, 0)},
        MoeCase{"AllKindsBoundedShared", with_kinds(with(small(3, "raw"), "factor", 0.7, 3), 2, 2, 1, 2)},
        MoeCase{"Relu", small(2, "sum1"), Activation::kRelu},
        MoeCase{"ReluShared", with(small(1, "raw"), "dropless", 1, 3), Activation::kRelu},
        MoeCase{"Residual", residual(small(1, "raw"))},
        MoeCase{"ResidualBoundedTop2", residual(with(small(2, "sum1"), "factor", 0.8)), Activation::kGelu},
        MoeCase{"Latent", latent(small(2, "sum1"), 3)},
        MoeCase{"LatentGeluKindsShared", latent(with_kinds(with(small(3, "raw"), "dropless", 1, 3), 1, 1, 1), 2),
                Activation::kGelu},
        MoeCase{"LatentResidualBounded", latent(residual(with(small(1, "raw"), "factor", 0.5)), 1)},
        MoeCase{"Widths", of_widths(small(2, "sum1"), "feed_forward(9):1,feed_forward:2,feed_forward(1):2")},
        MoeCase{"WidthsGeluLatentBounded",
                of_widths(latent(with(small(3, "raw"), "factor", 0.7), 2), "feed_forward:4,feed_forward(8):1"),
                Activation::kGelu}),
    [](const testing::TestParamInfo<MoeCase>& one) { return std::string(one.param.name); });

TEST(MoeLayer, ParametersHaveTheirNames) {
  MoeConfig config = small(2, "sum1");
  config.shared_hidden = 3;
  const MoeLayer::Shape shape{kMoeWidth, Activation::kSwiglu, 0.8, 0.9};
  const MoeLayer layer(ParameterSource(3, at::kDouble), config, shape, MoeTables());
  std::vector<std::string> names;
  for (const auto& parameter : layer.named_parameters()) names.push_back(parameter.key());
  EXPECT_EQ(names, (std::vector<std::string>{"router.weight", "experts.gate", "experts.up", "experts.down",
                                             "shared.gate.weight", "shared.up.weight", "shared.down.weight",
                                             "shared_gate.weight"}));
}

MoeLayer layer_with(const MoeConfig& config) {
  return {ParameterSource(3, at::kDouble), config, {kMoeWidth, Activation::kSwiglu, 0.8, 0.9}, MoeTables()};
}

TEST(MoeLayer, ResidualWithoutMixingWeightsIsTheMeanOfBothBranches) {
  const at::NoGradGuard no_gradient;
  const at::Tensor tokens = random_tensor("moe tokens", {kMoeTokens, kMoeWidth});
  MoeLayer mixed = layer_with(residual(small(1, "raw")));
  mixed.named_parameters()["residual_mix.weight"].zero_();
  MoeConfig added = residual(small(1, "raw"));
  added.shared_combine = "add";  // the same parameters otherwise: they are functions of their names
  MoeLayer sum = layer_with(added);
  parallel::LocalCommunicator group;
  const BatchScope scope{group, kMoeTokens, true};
  EXPECT_TRUE(at::allclose(mixed.forward(tokens, scope).out_TD, sum.forward(tokens, scope).out_TD / 2, 1e-14, 1e-15));
}

TEST(MoeLayer, LatentExpertsSeeRowsOfTheLatentWidth) {
  const MoeLayer layer = layer_with(latent(small(2, "sum1"), 3));
  const auto parameters = layer.named_parameters();
  EXPECT_EQ(parameters["latent_down.weight"].sizes(), (std::vector<int64_t>{3, kMoeWidth}));
  EXPECT_EQ(parameters["experts.gate"].sizes(), (std::vector<int64_t>{5, 3, 6}));
  EXPECT_EQ(parameters["experts.up"].sizes(), (std::vector<int64_t>{5, 3, 6}));
  EXPECT_EQ(parameters["experts.down"].sizes(), (std::vector<int64_t>{5, 6, 3}));
  EXPECT_EQ(parameters["latent_up.weight"].sizes(), (std::vector<int64_t>{kMoeWidth, 3}));
  EXPECT_EQ(parameters["router.weight"].sizes(), (std::vector<int64_t>{5, kMoeWidth}));
}

// Width 4: the router has 4 for each expert of any kind, an expert 3 x 4 x 6, a constant 4 + 2 x 4.
TEST(MoeLayer, ParameterCountByHand) {
  const auto expect = [](const MoeConfig& config, int64_t always, int64_t each, int64_t used) {
    torch::nn::Module model;
    model.register_module("moe", std::make_shared<MoeLayer>(layer_with(config)));
    const ParameterCount count = parameter_count(model, {});
    EXPECT_EQ(count.total, always + 5 * each);
    EXPECT_EQ(count.active, always + used * each);
  };
  expect(small(2, "sum1"), 20, 72, 2);
  expect(with_kinds(small(2, "sum1"), 3, 1, 1), 40 + 3 * 12, 72, 2);
  expect(with_kinds(small(4, "raw"), 0, 0, 0, 5), 40, 72, 4);
  expect(with_kinds(small(8, "raw"), 0, 0, 0, 5), 40, 72, 5);  // no token has more FFN experts than there are
  expect(residual(small(1, "raw")), 20 + 60 + 10, 72, 1);
  expect(latent(small(2, "sum1"), 3), 20 + 24, 3 * 3 * 6, 2);
}

TEST(MoeLayer, UnknownRouterIsTheUsersFault) {
  MoeConfig config = small(2, "sum1");
  config.router = "topk";
  EXPECT_THROW(MoeLayer(ParameterSource(3, at::kDouble), config, {kMoeWidth}, MoeTables()), parallel::UserError);
}

}  // namespace
}  // namespace moetrain
