#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moetrain/layers/output_head.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

at::Tensor term_hidden(int64_t tokens, int64_t width) {
  return random_tensor("hidden", {tokens, width}).requires_grad_(true);
}
at::Tensor term_weight(int64_t vocabulary, int64_t width) {
  return random_tensor("head", {vocabulary, width}).requires_grad_(true);
}

/// What a HeadLoss holds, written out for autograd.
struct NaiveTerms {
  at::Tensor share, second, nll_T;
};

/// Cross-entropy with the smoothed target written out as a distribution.
at::Tensor smoothed_T(const at::Tensor& log_p, const TargetTokens& targets) {
  const int64_t vocabulary = log_p.size(1);
  const at::Tensor known = targets.targets_G.clamp_min(0).unsqueeze(1);
  at::Tensor wanted = at::full_like(log_p, targets.label_smoothing / static_cast<double>(vocabulary)).detach();
  wanted.scatter_add_(1, known, at::full({known.size(0), 1}, 1 - targets.label_smoothing, at::kDouble));
  return -(wanted * log_p).sum(1);
}

at::Tensor where_counted(const at::Tensor& value_T, const TargetTokens& targets) {
  return at::where(targets.targets_G != OutputHead::kIgnored, value_T, at::zeros_like(value_T));
}

at::Tensor nll_by_hand(const at::Tensor& log_p, const TargetTokens& targets) {
  return where_counted(-log_p.gather(1, targets.targets_G.clamp_min(0).unsqueeze(1)).squeeze(1), targets);
}

NaiveTerms naive_two_pass(const at::Tensor& hidden_p, const at::Tensor& hidden_q, const at::Tensor& weight,
                          const TargetTokens& targets, double alpha) {
  const at::Tensor log_p = at::log_softmax(at::mm(hidden_p, weight.t()), 1),
                   log_q = at::log_softmax(at::mm(hidden_q, weight.t()), 1);
  const at::Tensor symmetric = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1) * 0.5;
  const at::Tensor second = where_counted(symmetric, targets).sum() * alpha * targets.scale;
  const at::Tensor both = where_counted(smoothed_T(log_p, targets) + smoothed_T(log_q, targets), targets);
  return {both.sum() * targets.scale + second, second,
          (nll_by_hand(log_p, targets) + nll_by_hand(log_q, targets)) * 0.5};
}

NaiveTerms naive_distillation(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& teacher_logits,
                              const TargetTokens& targets, double strength, double temperature) {
  const at::Tensor logits = at::mm(hidden, weight.t()), log_p = at::log_softmax(logits, 1);
  const at::Tensor wanted = at::softmax(teacher_logits / temperature, 1);
  const at::Tensor kl = (wanted * (wanted.log() - at::log_softmax(logits / temperature, 1))).sum(1);
  const at::Tensor second = where_counted(kl, targets).sum() * strength * temperature * temperature * targets.scale;
  return {where_counted(smoothed_T(log_p, targets), targets).sum() * targets.scale + second, second,
          nll_by_hand(log_p, targets)};
}

std::vector<at::Tensor> gradients_of(const at::Tensor& share, const std::vector<at::Tensor>& inputs) {
  torch::autograd::backward({share * 3}, {});
  std::vector<at::Tensor> gradients;
  for (at::Tensor input : inputs) {
    gradients.push_back(input.grad());
    input.mutable_grad() = at::Tensor();
  }
  return gradients;
}

void expect_same_terms(const HeadLoss& loss, const NaiveTerms& naive, const std::vector<at::Tensor>& inputs) {
  EXPECT_TRUE(at::allclose(loss.share, naive.share, 1e-12, 1e-13));
  EXPECT_TRUE(at::allclose(loss.second, naive.second, 1e-11, 1e-13));
  EXPECT_TRUE(at::allclose(loss.nll_T, naive.nll_T, 1e-12, 1e-13));
  EXPECT_FALSE(loss.second.requires_grad());
  const auto ours = gradients_of(loss.share, inputs), theirs = gradients_of(naive.share, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(at::allclose(ours[i], theirs[i], 1e-10, 1e-12)) << i;
}

const at::Tensor kSomeTargets = at::tensor({0, 8, -100, 3, 1, -100, 7}, at::kLong);

TEST(HeadTerms, LabelSmoothingIsCrossEntropyWithASpreadTarget) {
  const at::Tensor hidden = term_hidden(7, 4), weight = term_weight(9, 4);
  for (const double smoothing : {0.0, 0.1, 0.9}) {
    const TargetTokens targets{kSomeTargets, 0.2, smoothing};
    const at::Tensor log_p = at::log_softmax(at::mm(hidden, weight.t()), 1);
    const at::Tensor share = where_counted(smoothed_T(log_p, targets), targets).sum() * 0.2;
    expect_same_terms(OutputHead(weight).cross_entropy(hidden, targets),
                      {share, at::zeros({}, at::kDouble), nll_by_hand(log_p, targets)}, {hidden, weight});
  }
}

TEST(HeadTerms, TwoPassEqualsTheNaiveFormula) {
  const at::Tensor p = term_hidden(7, 4), weight = term_weight(9, 4);
  const at::Tensor q = random_tensor("second pass", {7, 4}).requires_grad_(true);
  for (const double alpha : {0.0, 1.0, 5.0}) {
    for (const double smoothing : {0.0, 0.1}) {
      const TargetTokens targets{kSomeTargets, 0.2, smoothing};
      expect_same_terms(OutputHead(weight).two_pass(p, q, targets, alpha), naive_two_pass(p, q, weight, targets, alpha),
                        {p, q, weight});
    }
  }
}

TEST(HeadTerms, TwoEqualPassesAreTwiceTheCrossEntropy) {
  const at::Tensor hidden = term_hidden(7, 4), weight = term_weight(9, 4);
  const TargetTokens targets{kSomeTargets, 0.2, 0.1};
  const HeadLoss both = OutputHead(weight).two_pass(hidden, hidden, targets, 5.0);
  const HeadLoss one = OutputHead(weight).cross_entropy(hidden, targets);
  EXPECT_EQ(both.second.item<double>(), 0.0);
  EXPECT_NEAR(both.share.item<double>(), 2 * one.share.item<double>(), 1e-14);
}

TEST(HeadTerms, TwoPassGradientsEqualFiniteDifferences) {
  const at::Tensor p = term_hidden(7, 4), weight = term_weight(9, 4);
  const at::Tensor q = random_tensor("second pass", {7, 4}).requires_grad_(true);
  const OutputHead head(weight);
  expect_gradients([&] { return head.two_pass(p, q, {kSomeTargets, 0.2, 0.1}, 5.0).share; }, {p, q, weight});
}

TEST(HeadTerms, DistillationEqualsTheNaiveFormula) {
  const at::Tensor hidden = term_hidden(7, 4), weight = term_weight(9, 4);
  const at::Tensor taught = random_tensor("teacher", {7, 6}), teacher_weight = random_tensor("its head", {9, 6});
  const OutputHead teacher(teacher_weight);
  for (const double temperature : {1.0, 2.5}) {
    for (const double smoothing : {0.0, 0.1}) {
      const TargetTokens targets{kSomeTargets, 0.2, smoothing};
      expect_same_terms(
          OutputHead(weight).distillation(hidden, {taught, teacher, 0.7, temperature}, targets),
          naive_distillation(hidden, weight, at::mm(taught, teacher_weight.t()), targets, 0.7, temperature),
          {hidden, weight});
    }
  }
}

TEST(HeadTerms, ATeacherGetsNoGradientAndItselfTeachesNothing) {
  const at::Tensor hidden = term_hidden(7, 4), weight = term_weight(9, 4);
  const at::Tensor taught = random_tensor("teacher", {7, 4}).requires_grad_(true);
  const at::Tensor teacher_weight = random_tensor("its head", {9, 4}).requires_grad_(true);
  const OutputHead teacher(teacher_weight), own(weight);
  const TargetTokens targets{kSomeTargets, 0.2};
  torch::autograd::backward({own.distillation(hidden, {taught, teacher, 1.0, 2.0}, targets).share}, {});
  EXPECT_FALSE(taught.grad().defined());
  EXPECT_FALSE(teacher_weight.grad().defined());
  const HeadLoss itself = own.distillation(hidden, {hidden, own, 1.0, 2.0}, targets);
  EXPECT_NEAR(itself.second.item<double>(), 0.0, 1e-14);
}

TEST(HeadTerms, ChunksMakeNoDifferenceToTwoPassesAndTeachers) {
  const int64_t vocabulary = int64_t{1} << 11,
                chunk = OutputHead::tokens_of_chunk(/*cpu=*/true, at::kDouble, 2 * vocabulary);
  ASSERT_LE(chunk, 256);
  const int64_t tokens = 2 * chunk + 1;
  const at::Tensor weight = term_weight(vocabulary, 2), teacher_weight = random_tensor("its head", {vocabulary, 2});
  const OutputHead head(weight), teacher(teacher_weight);
  const at::Tensor p = term_hidden(tokens, 2), q = random_tensor("second pass", {tokens, 2}).requires_grad_(true);
  at::Tensor wanted = (at::arange(tokens, at::kLong) * 123457).remainder(vocabulary);
  wanted[2] = OutputHead::kIgnored;
  const TargetTokens targets{wanted, 0.25, 0.1};
  expect_same_terms(head.two_pass(p, q, targets, 5.0), naive_two_pass(p, q, weight, targets, 5.0), {p, q, weight});
  const at::Tensor taught = random_tensor("teacher", {tokens, 2});
  expect_same_terms(head.distillation(p, {taught, teacher, 0.7, 2.0}, targets),
                    naive_distillation(p, weight, at::mm(taught, teacher_weight.t()), targets, 0.7, 2.0), {p, weight});
}

TEST(HeadTerms, NoTokensAndNoGradientsOfTwoPassesAndTeachers) {
  const at::Tensor weight = term_weight(9, 4);
  const OutputHead head(weight);
  for (const int64_t tokens : {0, 3}) {
    const at::Tensor hidden = term_hidden(tokens, 4);
    const TargetTokens none{at::full({tokens}, -100, at::kLong), 1.0, 0.1};
    for (const HeadLoss& loss : {head.two_pass(hidden, hidden * 2, none, 5.0),
                                 head.distillation(hidden, {hidden * 2, head, 1.0, 2.0}, none)}) {
      EXPECT_EQ(loss.share.item<double>(), 0.0);
      EXPECT_EQ(loss.nll_T.numel(), tokens);
      for (const at::Tensor& gradient : gradients_of(loss.share, {weight})) {
        EXPECT_TRUE(gradient.equal(at::zeros({9, 4}, at::kDouble)));
      }
    }
  }
  const at::Tensor p = term_hidden(7, 4), q = p.detach() * 1.5;
  const TargetTokens targets{kSomeTargets, 0.2, 0.1};
  const HeadLoss trained = head.two_pass(p, q, targets, 5.0);
  const at::NoGradGuard no_gradient;
  const HeadLoss evaluated = head.two_pass(p, q, targets, 5.0);
  EXPECT_FALSE(evaluated.share.requires_grad());
  EXPECT_TRUE(evaluated.share.equal(trained.share));
}

TEST(HeadTerms, FarApartPassesStayFinite) {
  const at::Tensor p = (term_hidden(7, 4).detach() * 1e4).requires_grad_(true), weight = term_weight(9, 4);
  const HeadLoss loss = OutputHead(weight).two_pass(p, -p.detach(), {kSomeTargets, 0.2, 0.1}, 5.0);
  EXPECT_TRUE(loss.share.isfinite().item<bool>());
  for (const at::Tensor& gradient : gradients_of(loss.share, {p, weight})) {
    EXPECT_TRUE(gradient.isfinite().all().item<bool>());
  }
}

}  // namespace
}  // namespace moetrain
