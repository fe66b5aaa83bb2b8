// Zero, copy, constant and null experts: what they give, and that no row of theirs is dispatched.
#include "moetrain/experts/local_experts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "moetrain/moe/moe_layer.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/dispatch/permutation.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kLocalWidth = 4;
const ExpertKinds kAllKinds{.ffn = 3, .constant = 2, .copy = 2, .zero = 1, .null = 2};  // 3 4, 5 6, 7, 8 9

LocalExperts local_experts(const ExpertKinds& kinds = kAllKinds) {
  return {ParameterSource(3, at::kDouble), kinds, kLocalWidth, 0.8};
}

/// One choice a token, of weight 1.
parallel::Assignment single_choices(const std::vector<int64_t>& experts) {
  const at::Tensor expert_TK = at::tensor(experts, at::kLong).unsqueeze(1);
  return {expert_TK, at::ones(expert_TK.sizes(), at::kDouble), kAllKinds.total()};
}

at::Tensor local_tokens(int64_t count) { return random_tensor("local tokens", {count, kLocalWidth}); }

void set(LocalExperts& experts, const char* name, double value) {
  const at::NoGradGuard no_gradient;
  experts.named_parameters()[name].fill_(value);
}

TEST(ExpertKinds, TableIsInRouterOrder) {
  std::vector<std::string> names;
  std::vector<int64_t> firsts;
  for (const ExpertKind& kind : expert_kind_table()) {
    names.emplace_back(kind.name);
    firsts.push_back(first_of_kind(kAllKinds, kind.count));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"ffn", "constant", "copy", "zero", "null"}));
  EXPECT_EQ(firsts, (std::vector<int64_t>{0, 3, 5, 7, 8}));
  EXPECT_EQ(kAllKinds.total(), 10);
  EXPECT_EQ(kAllKinds.true_experts(), 7);
  EXPECT_EQ(kAllKinds.zero_computation(), 7);
  const ExpertKinds read =
      expert_kinds({.experts = 6, .constant_experts = 3, .copy_experts = 2, .zero_experts = 1, .null_experts = 4});
  EXPECT_EQ(read.ffn, 6);
  EXPECT_EQ(read.zero, 1);
  EXPECT_EQ(read.copy, 2);
  EXPECT_EQ(read.constant, 3);
  EXPECT_EQ(read.null, 4);
  EXPECT_EQ(ExpertKinds{}.total(), 0);
}

TEST(LocalExperts, ZeroNullFfnAndDroppedGiveNothing) {
  LocalExperts experts = local_experts();
  const at::Tensor out = experts.forward(local_tokens(6), single_choices({7, 8, 9, 0, 2, -1}));
  EXPECT_TRUE(out.equal(at::zeros_like(out)));
}

TEST(LocalExperts, CopyGivesTheToken) {
  const at::Tensor tokens = local_tokens(2);
  EXPECT_TRUE(local_experts().forward(tokens, single_choices({5, 6})).equal(tokens));
  EXPECT_TRUE(local_experts({.ffn = 3, .copy = 2}).forward(tokens, single_choices({3, 4})).equal(tokens));
}

TEST(LocalExperts, ConstantWithoutMixingWeightsIsTheMeanOfTokenAndValue) {
  LocalExperts experts = local_experts();
  set(experts, "mix", 0);
  const at::Tensor tokens = local_tokens(2), value_CD = experts.named_parameters()["value"];
  const at::Tensor out = experts.forward(tokens, single_choices({4, 3}));
  EXPECT_TRUE(at::allclose(out, (tokens + value_CD.flip(0)) / 2, 1e-15, 1e-15));
}

TEST(LocalExperts, WeightsScaleAndChoicesAddUp) {
  LocalExperts experts = local_experts();
  set(experts, "mix", 0);
  const at::Tensor tokens = local_tokens(1), value_CD = experts.named_parameters()["value"];
  const parallel::Assignment assignment{at::tensor({6, 3, 0, 8}, at::kLong).view({1, 4}),
                                        at::tensor({0.5, 0.25, 7.0, 9.0}, at::kDouble).view({1, 4}), 10};
  EXPECT_TRUE(at::allclose(experts.forward(tokens, assignment), 0.625 * tokens + 0.125 * value_CD[0], 1e-15, 1e-15));
}

TEST(LocalExperts, GradientsEqualFiniteDifferences) {
  LocalExperts experts = local_experts();
  const at::Tensor tokens = local_tokens(5).requires_grad_(true), probe = random_tensor("probe", {5, kLocalWidth});
  const at::Tensor weight_TK = random_tensor("weights", {5, 3}).requires_grad_(true);
  const at::Tensor expert_TK = at::tensor({3, 5, 0, 4, 3, 6, 7, 8, 9, -1, 4, -1, 1, 5, 6}, at::kLong).view({5, 3});
  std::vector<at::Tensor> inputs = experts.parameters();
  inputs.insert(inputs.end(), {tokens, weight_TK});
  expect_gradients([&] { return (experts.forward(tokens, {expert_TK, weight_TK, 10}) * probe).sum(); }, inputs);
}

TEST(LocalExperts, NoTokens) {
  LocalExperts experts = local_experts();
  const at::Tensor out = experts.forward(local_tokens(0), single_choices({}));
  EXPECT_EQ(out.sizes(), (std::vector<int64_t>{0, kLocalWidth}));
  torch::autograd::backward({out.sum()}, {});
  for (const at::Tensor& parameter : experts.parameters())
    EXPECT_TRUE(parameter.grad().equal(at::zeros_like(parameter)));
}

TEST(DispatchedChoices, AreThoseOfFfnExperts) {
  const parallel::Assignment all{at::tensor({3, 5, 0, 2, 3, 6, -1, 1, 9}, at::kLong).view({3, 3}),
                                 random_tensor("weights", {3, 3}), 10};
  const parallel::Assignment dispatched = dispatched_choices(all, 3);
  EXPECT_EQ(dispatched.num_experts, 3);
  EXPECT_TRUE(dispatched.expert_TK.equal(at::tensor({-1, -1, 0, 2, -1, -1, -1, 1, -1}, at::kLong).view({3, 3})));
  EXPECT_TRUE(dispatched.weight_TK.is_same(all.weight_TK));
  EXPECT_EQ(parallel::sort_by_expert(dispatched.expert_TK, 3).rows(), 3);
}

/// A layer with a router that sends every token to the experts of one kind.
class OneKindLayer {
 public:
  OneKindLayer(const MoeConfig& config, int64_t ExpertKinds::*kind)
      : config_(config), layer_(ParameterSource(3, at::kDouble), config, {.width = kLocalWidth}, MoeTables()) {
    const at::NoGradGuard no_gradient;
    const ExpertKinds kinds = expert_kinds(config);
    at::Tensor weight_ED = layer_.named_parameters()["router.weight"].fill_(-1.0);
    weight_ED.narrow(0, first_of_kind(kinds, kind), kinds.*kind).fill_(1.0);
    layer_.named_parameters()["experts.up"].fill_(std::numeric_limits<double>::quiet_NaN());
  }
  MoeOutput forward(const at::Tensor& tokens_TD) {
    parallel::LocalCommunicator group;
    return layer_.forward(tokens_TD, {group, tokens_TD.size(0), true});
  }
  int64_t dispatched_rows(const MoeOutput& output) const {
    const auto assignment = dispatched_choices(output.decision.assignment, config_.experts);
    return parallel::sort_by_expert(assignment.expert_TK, config_.experts).rows();
  }

 private:
  MoeConfig config_;
  MoeLayer layer_;
};

/// The FFN experts hold NaN, so that one row through them would show.
TEST(LocalExpertsInALayer, ATokenOfNullsOnlyIsLeftAlone) {
  OneKindLayer layer({.experts = 3, .top_k = 2, .hidden = 5, .null_experts = 4}, &ExpertKinds::null);
  const at::Tensor tokens = local_tokens(7).abs().requires_grad_(true);
  const MoeOutput output = layer.forward(tokens);
  EXPECT_TRUE(output.out_TD.equal(at::zeros_like(tokens)));
  EXPECT_EQ(layer.dispatched_rows(output), 0);
  EXPECT_EQ(output.decision.global_choices_E.sum().item<int64_t>(), 14);
  torch::autograd::backward({output.out_TD.sum()}, {});
  EXPECT_TRUE(tokens.grad().equal(at::zeros_like(tokens)));
}

TEST(LocalExpertsInALayer, ATokenOfCopiesOnlyIsItself) {
  OneKindLayer layer({.experts = 3, .top_k = 2, .hidden = 5, .copy_experts = 2}, &ExpertKinds::copy);
  const at::Tensor tokens = local_tokens(7).abs();
  const MoeOutput output = layer.forward(tokens);
  EXPECT_TRUE(at::allclose(output.out_TD, tokens, 1e-15, 0));
  EXPECT_EQ(layer.dispatched_rows(output), 0);
}

TEST(LocalExpertsInALayer, RowsThatAreDispatchedAreTheChoicesOfFfnExperts) {
  const MoeConfig config{
      .experts = 3, .top_k = 2, .hidden = 5, .constant_experts = 2, .copy_experts = 1, .zero_experts = 1};
  MoeLayer layer(ParameterSource(3, at::kDouble), config, {.width = kLocalWidth, .std = 0.8}, MoeTables());
  parallel::LocalCommunicator group;
  const MoeOutput output = layer.forward(local_tokens(40), {group, 40, true});
  const at::Tensor choices_E = output.decision.global_choices_E;
  EXPECT_EQ(choices_E.numel(), 7);
  const auto assignment = dispatched_choices(output.decision.assignment, config.experts);
  const parallel::Permutation permutation = parallel::sort_by_expert(assignment.expert_TK, config.experts);
  EXPECT_EQ(permutation.rows(), choices_E.narrow(0, 0, 3).sum().item<int64_t>());
  EXPECT_GT(permutation.rows(), 0);
  EXPECT_LT(permutation.rows(), 80);
}

}  // namespace
}  // namespace moetrain
