// Experts that share weights: the function and the gradients of experts that each have a copy of them.
#include "moetrain/experts/shared_weights.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/config/expert_kinds.h"
#include "moetrain/moe/moe_layer.h"
#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

const std::vector<int64_t> kSetOfExpert{0, 1, 0, 2, 1, 0};

TEST(SharedWeights, ATokenSendsOneRowToEachSet) {
  const at::Tensor expert_TK = at::tensor({0, 2, 5, 3, 4, -1, 2, -1, 0}, at::kLong).view({3, 3});
  at::Tensor weight_TK = at::tensor({.5, .25, .125, .5, .25, 9., .5, 9., .25}, at::kDouble).view({3, 3});
  weight_TK.requires_grad_(true);
  const parallel::Assignment sets = SharedWeights(kSetOfExpert, at::kCPU).of_sets({expert_TK, weight_TK, 6});
  EXPECT_EQ(sets.num_experts, 3);
  EXPECT_TRUE(at::equal(sets.expert_TK, at::tensor({0, -1, -1, 2, 1, -1, 0, -1, -1}, at::kLong).view({3, 3})));
  const at::Tensor sum_T = at::where(sets.expert_TK >= 0, sets.weight_TK, 0).sum(1);
  EXPECT_TRUE(at::equal(sum_T, at::tensor({.875, .75, .75}, at::kDouble)));
  sum_T.sum().backward();
  EXPECT_TRUE(at::equal(weight_TK.grad(), (expert_TK >= 0).to(at::kDouble)));
}

struct SharedCase {
  const char* name;
  void (*change)(MoeConfig&);
};

class SharedWeightsOf : public testing::TestWithParam<SharedCase> {};

/// A layer whose experts share weights beside one in which each has a copy.
TEST_P(SharedWeightsOf, GiveTheOutputAndTheSumOfTheGradientsOfCopies) {
  MoeConfig config{.experts = 6, .top_k = 3, .hidden = 5};
  GetParam().change(config);
  const MoeLayer::Shape shape{.width = 4, .std = 0.8, .output_std = 0.9};
  MoeConfig apart = config;
  apart.expert_weights.clear();
  MoeLayer shared(ParameterSource(3, at::kDouble).at("m"), config, shape, MoeTables());
  MoeLayer copies(ParameterSource(3, at::kDouble).at("m"), apart, shape, MoeTables());
  const at::Tensor set_E = at::tensor(config.expert_weights, at::kLong);
  const auto of_experts = [](const std::string& name) { return name.starts_with("experts."); };
  const auto parameters = shared.named_parameters();
  for (auto& copy : copies.named_parameters()) {
    const at::NoGradGuard no_gradient;
    const at::Tensor& from = parameters[copy.key()];
    copy.value().copy_(of_experts(copy.key()) ? from.index_select(0, set_E) : from);
  }
  const auto group = std::make_shared<parallel::LocalCommunicator>();
  const at::Tensor tokens_TD = random_tensor("shared tokens", {9, 4}), probe = random_tensor("shared probe", {9, 4});
  const auto backward = [&](MoeLayer& layer) {
    const MoeOutput output = layer.forward(tokens_TD, {*group, tokens_TD.size(0), true});
    ((output.out_TD * probe).sum() + output.losses.sum()).backward();
    return output.out_TD.detach();
  };
  EXPECT_TRUE(at::allclose(backward(shared), backward(copies), 0, 1e-13));
  for (const auto& copy : copies.named_parameters()) {
    const at::Tensor& found = parameters[copy.key()].grad();
    at::Tensor wanted = copy.value().grad();
    if (of_experts(copy.key())) wanted = at::zeros_like(found).index_add(0, set_E, wanted);
    EXPECT_TRUE(at::allclose(found, wanted, 0, 1e-13)) << copy.key();
    EXPECT_GT(found.abs().max().item<double>(), 0) << copy.key();
  }
}

INSTANTIATE_TEST_SUITE_P(All, SharedWeightsOf,
                         testing::Values(SharedCase{"one_kind", [](MoeConfig& c) { c.expert_weights = kSetOfExpert; }},
                                         SharedCase{"one_set",
                                                    [](MoeConfig& c) { c.expert_weights = {0, 0, 0, 0, 0, 0}; }},
                                         SharedCase{"bounded_beside_copies",
                                                    [](MoeConfig& c) {
                                                      c.expert_weights = kSetOfExpert, c.copy_experts = 2,
                                                      c.capacity = "factor";
                                                    }}),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(SharedWeights, AreCountedAsSets) {
  MoeConfig config{.experts = 6, .expert = "feed_forward:1,feed_forward(3):2", .expert_weights = kSetOfExpert};
  EXPECT_EQ(weight_sets(config), 3);
  const parallel::NameTable<ExpertPreset> kinds = builtin_experts();
  EXPECT_EQ(expert_ranges(config, kinds).back().count, 2);
  const auto refused = [&] {
    try {
      expert_ranges(config, kinds);
    } catch (const parallel::UserError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  config.expert = "feed_forward:6";
  EXPECT_NE(refused().find("these are 6 experts, and moe.expert_weights has 3 sets of weights"), std::string::npos);
  config.expert = "feed_forward", config.expert_weights = {0, 0, 2, 2, 0, 0};
  EXPECT_EQ(refused(),
            "moe.expert_weights names set 2, and no expert has set 1; legal: sets numbered from 0 without gaps");
  config.expert_weights = {0, 1};
  EXPECT_EQ(refused(), "moe.expert_weights has 2 numbers, and a layer has 6 experts; legal: 6 numbers, or none");
}

}  // namespace
}  // namespace moetrain
