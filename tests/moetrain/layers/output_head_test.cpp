#include "moetrain/layers/output_head.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

struct HeadResult {
  at::Tensor share, nll_T, grad_hidden, grad_weight;
};

/// Gradients of 3 * share, so that what comes from above counts too.
HeadResult with_gradients(at::Tensor share, at::Tensor nll_T, at::Tensor hidden, at::Tensor weight) {
  torch::autograd::backward({share * 3}, {});
  HeadResult result{share.detach(), nll_T.detach(), hidden.grad(), weight.grad()};
  hidden.mutable_grad() = at::Tensor();
  weight.mutable_grad() = at::Tensor();
  return result;
}

HeadResult by_head(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, double scale) {
  const HeadLoss loss = OutputHead(weight).cross_entropy(hidden, {targets, scale});
  return with_gradients(loss.share, loss.nll_T, hidden, weight);
}

HeadResult by_log_softmax(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, double scale) {
  const at::Tensor log_p = at::log_softmax(at::mm(hidden, weight.t()), 1), counted = targets != OutputHead::kIgnored;
  const at::Tensor picked = log_p.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  const at::Tensor nll = at::where(counted, -picked, at::zeros_like(picked));
  return with_gradients(nll.sum() * scale, nll, hidden, weight);
}

void expect_same(const HeadResult& a, const HeadResult& b) {
  EXPECT_TRUE(at::allclose(a.share, b.share, 1e-13, 1e-14));
  EXPECT_TRUE(at::allclose(a.nll_T, b.nll_T, 1e-13, 1e-14));
  EXPECT_TRUE(at::allclose(a.grad_hidden, b.grad_hidden, 1e-12, 1e-14));
  EXPECT_TRUE(at::allclose(a.grad_weight, b.grad_weight, 1e-12, 1e-14));
}

at::Tensor head_hidden(int64_t tokens, int64_t width) {
  return random_tensor("hidden", {tokens, width}).requires_grad_(true);
}
at::Tensor head_weight(int64_t vocabulary, int64_t width) {
  return random_tensor("head", {vocabulary, width}).requires_grad_(true);
}

TEST(OutputHead, EqualsLogSoftmax) {
  const at::Tensor hidden = head_hidden(7, 4), weight = head_weight(9, 4);
  const at::Tensor targets = at::tensor({0, 8, 3, 3, 1, 0, 7}, at::kLong);
  expect_same(by_head(hidden, weight, targets, 0.37), by_log_softmax(hidden, weight, targets, 0.37));
}

TEST(OutputHead, IgnoredTargetsCountForNothing) {
  const at::Tensor hidden = head_hidden(5, 4), weight = head_weight(9, 4);
  const at::Tensor targets = at::tensor({-100, 8, -100, 3, -100}, at::kLong);
  const HeadResult result = by_head(hidden, weight, targets, 1.0 / 2);
  expect_same(result, by_log_softmax(hidden, weight, targets, 1.0 / 2));
  EXPECT_EQ(result.nll_T[0].item<double>(), 0.0);
  EXPECT_TRUE(result.grad_hidden[2].equal(at::zeros({4}, at::kDouble)));
}

TEST(OutputHead, AllIgnoredAndNoTokens) {
  for (const int64_t tokens : {0, 3}) {
    const HeadResult result =
        by_head(head_hidden(tokens, 4), head_weight(9, 4), at::full({tokens}, -100, at::kLong), 1.0);
    EXPECT_EQ(result.share.item<double>(), 0.0);
    EXPECT_EQ(result.nll_T.numel(), tokens);
    EXPECT_TRUE(result.grad_weight.equal(at::zeros({9, 4}, at::kDouble)));
    EXPECT_TRUE(result.grad_hidden.equal(at::zeros({tokens, 4}, at::kDouble)));
  }
}

// Two chunks and one of a single token, and two that end on the boundary.
TEST(OutputHead, ChunksOfTokensMakeNoDifference) {
  const int64_t vocabulary = int64_t{1} << 11,
                chunk = OutputHead::tokens_of_chunk(/*cpu=*/true, at::kDouble, vocabulary);
  ASSERT_LE(chunk, 256);
  const at::Tensor weight = head_weight(vocabulary, 2);
  for (const int64_t tokens : {2 * chunk, 2 * chunk + 1}) {
    const at::Tensor hidden = head_hidden(tokens, 2);
    at::Tensor targets = (at::arange(tokens, at::kLong) * 123457).remainder(vocabulary);
    targets[4] = OutputHead::kIgnored;
    expect_same(by_head(hidden, weight, targets, 0.25), by_log_softmax(hidden, weight, targets, 0.25));
  }
}

TEST(OutputHead, GradientsEqualFiniteDifferences) {
  const at::Tensor hidden = head_hidden(5, 4), weight = head_weight(9, 4);
  const at::Tensor targets = at::tensor({0, 8, -100, 3, 1}, at::kLong);
  const OutputHead head(weight);
  expect_gradients([&] { return head.cross_entropy(hidden, {targets, 0.25}).share; }, {hidden, weight});
}

TEST(OutputHead, LargeLogitsStayFinite) {
  const at::Tensor hidden = (head_hidden(4, 3).detach() * 1e4).requires_grad_(true), weight = head_weight(6, 3);
  const HeadResult result = by_head(hidden, weight, at::tensor({0, 1, 2, 3}, at::kLong), 1.0);
  EXPECT_TRUE(result.share.isfinite().item<bool>());
  EXPECT_TRUE(result.grad_weight.isfinite().all().item<bool>());
}

TEST(OutputHead, LowPrecisionModelsGetLossesInFloat32) {
  const at::Tensor hidden = head_hidden(6, 8).detach().to(at::kBFloat16).requires_grad_(true);
  const at::Tensor weight = (head_weight(11, 8).detach() * 0.3).to(at::kBFloat16).requires_grad_(true);
  const at::Tensor targets = at::tensor({0, 10, 3, -100, 1, 5}, at::kLong);
  const HeadLoss loss = OutputHead(weight).cross_entropy(hidden, {targets, 0.2});
  EXPECT_EQ(loss.share.scalar_type(), at::kFloat);
  EXPECT_EQ(loss.nll_T.scalar_type(), at::kFloat);
  const HeadResult low = with_gradients(loss.share, loss.nll_T, hidden, weight);
  EXPECT_EQ(low.grad_hidden.scalar_type(), at::kBFloat16);
  EXPECT_EQ(low.grad_weight.scalar_type(), at::kBFloat16);
  const at::Tensor wide_hidden = hidden.detach().to(at::kDouble).requires_grad_(true);
  const at::Tensor wide_weight = weight.detach().to(at::kDouble).requires_grad_(true);
  const HeadResult exact = by_log_softmax(wide_hidden, wide_weight, targets, 0.2);
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.to(at::kDouble) - b).abs().max() / b.abs().max()).item<double>();
  };
  EXPECT_LT(error(low.nll_T, exact.nll_T), 0.01);
  EXPECT_LT(error(low.grad_hidden, exact.grad_hidden), 0.03);
  EXPECT_LT(error(low.grad_weight, exact.grad_weight), 0.03);
}

TEST(OutputHead, WithoutGradientsTheLossIsTheSame) {
  const at::Tensor hidden = head_hidden(5, 4), weight = head_weight(9, 4);
  const at::Tensor targets = at::tensor({0, 8, -100, 3, 1}, at::kLong);
  const OutputHead head(weight);
  const HeadLoss trained = head.cross_entropy(hidden, {targets, 0.25});
  EXPECT_TRUE(trained.share.requires_grad());
  EXPECT_FALSE(trained.nll_T.requires_grad());
  const at::NoGradGuard no_gradient;
  const HeadLoss evaluated = head.cross_entropy(hidden, {targets, 0.25});
  EXPECT_FALSE(evaluated.share.requires_grad());
  EXPECT_TRUE(evaluated.share.equal(trained.share));
  EXPECT_TRUE(evaluated.nll_T.equal(trained.nll_T));
}

TEST(OutputHead, LogitsAreTheProductInAtLeastFloat32) {
  const at::Tensor hidden = random_tensor("hidden", {2, 4}), weight = random_tensor("head", {5, 4});
  EXPECT_TRUE(at::allclose(OutputHead(weight).logits(hidden), at::mm(hidden, weight.t()), 1e-14, 1e-14));
  EXPECT_EQ(OutputHead(weight.to(at::kBFloat16)).logits(hidden.to(at::kBFloat16)).scalar_type(), at::kFloat);
}

TEST(OutputHead, OnlyAHeadOfItsOwnHasAParameter) {
  EXPECT_TRUE(OutputHead(random_tensor("head", {5, 4})).parameters().empty());
  const OutputHead own(ParameterSource(3, at::kDouble), 4, 5, 0.1);
  ASSERT_EQ(own.parameters().size(), 1u);
  EXPECT_EQ(own.parameters()[0].sizes(), (at::IntArrayRef{5, 4}));
}

}  // namespace
}  // namespace moetrain
