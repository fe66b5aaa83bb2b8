// Feed-forward experts, whose backward writes over what forward saved.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "moetrain/experts/dispatched_experts.h"
#include "tests/support/random_tensor.h"
#include "tests/support/threads.h"

namespace moetrain {
namespace {

constexpr int64_t kTokens = 200, kTopK = 2, kExperts = 5, kWidth = 12, kHidden = 20;

struct Case {
  Activation activation;
  at::ScalarType type;
  double tolerance;
};

class FeedForwardExperts : public testing::TestWithParam<Case> {
 protected:
  FeedForwardExperts()
      : experts_(
            ParameterSource(3, at::TensorOptions(GetParam().type)), builtin_experts(),
            {.width = kWidth, .hidden = kHidden, .activation = GetParam().activation, .std = 0.5, .output_std = 0.5},
            {.experts = kExperts, .top_k = kTopK, .hidden = kHidden}),
        tokens_TD_(random_tensor("tokens", {kTokens, kWidth}).to(GetParam().type).requires_grad_(true)),
        weight_TK_(random_tensor("weight", {kTokens, kTopK}).to(GetParam().type).requires_grad_(true)) {}

  at::Tensor output() {
    // One expert has half of all rows, which threads share, and the last none.
    const at::Tensor first_T = at::arange(kTokens, at::kLong).remainder(kExperts - 2);
    const at::Tensor expert_TK = at::stack({first_T, at::full_like(first_T, kExperts - 2)}, 1);
    return experts_.forward(tokens_TD_, {expert_TK, weight_TK_, kExperts});
  }
  std::vector<at::Tensor> gradients(const at::Tensor& out_TD, bool keep) {
    std::vector<at::Tensor> inputs{tokens_TD_, weight_TK_};
    for (const at::Tensor& weight : experts_.parameters()) inputs.push_back(weight);
    return torch::autograd::grad({out_TD}, inputs, {random_tensor("above", out_TD.sizes()).to(out_TD.scalar_type())},
                                 keep);
  }

  DispatchedExperts experts_;
  at::Tensor tokens_TD_, weight_TK_;
};

TEST_P(FeedForwardExperts, ARetainedGraphGivesTheSameGradientsAgain) {
  const at::Tensor out_TD = output();
  const auto first = gradients(out_TD, /*keep=*/true), second = gradients(out_TD, /*keep=*/true),
             last = gradients(out_TD, /*keep=*/false);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(first[i].equal(second[i])) << i;
    EXPECT_TRUE(first[i].equal(last[i])) << i;
  }
}

/// Each takes its experts one after another.
TEST_P(FeedForwardExperts, OneThreadAndSeveralGiveTheSame) {
  std::vector<std::vector<at::Tensor>> all;
  for (const int threads : {1, 3}) {
    const Threads own(threads);
    const at::Tensor out_TD = output();
    all.push_back(gradients(out_TD, /*keep=*/false));
    all.back().push_back(out_TD.detach());
  }
  for (size_t i = 0; i < all[0].size(); ++i) {
    EXPECT_TRUE(all[0][i].allclose(all[1][i], GetParam().tolerance, GetParam().tolerance)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FeedForwardExperts,
    testing::Values(Case{Activation::kSwiglu, at::kDouble, 1e-12}, Case{Activation::kGelu, at::kDouble, 1e-12},
                    Case{Activation::kRelu, at::kDouble, 1e-12}, Case{Activation::kSwiglu, at::kFloat, 1e-4},
                    Case{Activation::kGelu, at::kFloat, 1e-4}, Case{Activation::kRelu, at::kFloat, 1e-4},
                    Case{Activation::kSwiglu, at::kBFloat16, 5e-2}));

}  // namespace
}  // namespace moetrain
