// Gradients of experts' weights, written where a GradientReducer gathers them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "moetrain/experts/dispatched_experts.h"
#include "moetrain/products/product_way.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/gradients/gradient_reducer.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

struct PlacedCase {
  Activation activation = Activation::kSwiglu;
  const char* expert = "feed_forward";  // of one kind, or of several widths
};

class ExpertGradientPlace : public testing::TestWithParam<PlacedCase> {
 protected:
  static constexpr int64_t kTokens = 300, kTopK = 2, kExperts = 4, kWidth = 16, kHidden = 24;

  static DispatchedExperts experts(at::ScalarType type) {
    const ExpertShape shape{
        .width = kWidth, .hidden = kHidden, .activation = GetParam().activation, .std = 0.5, .output_std = 0.5};
    MoeConfig config{.experts = kExperts, .top_k = kTopK, .hidden = kHidden};
    config.expert = GetParam().expert;
    return {ParameterSource(3, at::TensorOptions(type)), builtin_experts(), shape, config};
  }

  /// Backward of a drawn gradient; the last expert has no row.
  static void backward(const DispatchedExperts& experts, const at::Tensor& tokens_TD) {
    const at::Tensor first_T = at::arange(kTokens, at::kLong).remainder(kExperts - 1);
    const at::Tensor weight_TK = random_tensor("weight", {kTokens, kTopK}).to(tokens_TD.scalar_type());
    const at::Tensor out_TD = experts.forward(
        tokens_TD, {at::stack({first_T, (first_T + 1).remainder(kExperts - 1)}, 1), weight_TK, kExperts});
    torch::autograd::backward({out_TD}, {random_tensor("above", out_TD.sizes()).to(out_TD.scalar_type())});
  }
};

TEST_P(ExpertGradientPlace, SumsOf16BitsAreNotRoundedWhereThereAreProductsForThem) {
  const at::Tensor tokens_TD = random_tensor("tokens", {kTokens, kWidth}).to(at::kBFloat16);
  const DispatchedExperts low = experts(at::kBFloat16), exact = experts(at::kDouble);
  for (size_t i = 0; i < low.parameters().size(); ++i) {
    exact.parameters()[i].detach().copy_(low.parameters()[i].detach());
  }
  backward(exact, tokens_TD.to(at::kDouble));
  parallel::GradientReducer reducer(low.parameters(), std::make_shared<parallel::LocalCommunicator>());
  for (int round = 0; round < 2; ++round) {
    reducer.zero();
    reducer.expect(true);
    backward(low, tokens_TD);
    reducer.finish();
    for (size_t i = 0; i < low.parameters().size(); ++i) {
      const at::Tensor sums = reducer.gradient(i), wanted = exact.parameters()[i].grad();
      EXPECT_LE((sums.to(at::kDouble) - wanted).abs().max().item<double>(), wanted.abs().max().item<double>() / 32)
          << i;
      EXPECT_EQ(sums.to(at::kBFloat16).to(at::kFloat).equal(sums), !has_wide_sums()) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExpertGradientPlace,
                         testing::Values(PlacedCase{}, PlacedCase{.activation = Activation::kGelu},
                                         PlacedCase{.expert = "feed_forward:2,feed_forward(8):2"}));

}  // namespace
}  // namespace moetrain
