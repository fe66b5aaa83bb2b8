#include "parallel/dispatch/expert_pipeline.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include "parallel/base/random.h"
#include "tests/parallel/dispatch/toy_compute.h"
#include "tests/support/gradient_check.h"

namespace parallel {
namespace {

constexpr int64_t kExperts = 4, kWidth = 3, kHidden = 5;

at::Tensor draws(const char* name, at::IntArrayRef shape) {
  const RandomStream stream(9, name);
  at::Tensor tensor = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.mutable_data_ptr<double>()[i] = stream.normal(i);
  return tensor;
}

/// Inputs of one pipeline; leaves that require gradients.
struct PipelineCase {
  PipelineCase(const at::Tensor& expert_TK) : expert_TK(expert_TK) {
    tokens_TD = draws("tokens", {expert_TK.size(0), kWidth}).requires_grad_(true);
    weight_TK = draws("gates", expert_TK.sizes()).requires_grad_(true);
    weights = {draws("in", {kExperts, kWidth, kHidden}).requires_grad_(true),
               draws("out", {kExperts, kHidden, kWidth}).requires_grad_(true)};
  }
  at::Tensor run() const {
    return expert_pipeline(tokens_TD, {expert_TK, weight_TK, kExperts}, compute, weights, one_rank(kExperts));
  }
  /// A loop over tokens and choices by plain autograd, without rows or permutations.
  at::Tensor dense() const {
    std::vector<at::Tensor> out;
    for (int64_t t = 0; t < expert_TK.size(0); ++t) {
      at::Tensor sum = at::zeros({1, kWidth}, at::kDouble);
      for (int64_t j = 0; j < expert_TK.size(1); ++j) {
        const int64_t e = expert_TK[t][j].item<int64_t>();
        if (e == Assignment::kDropped) continue;
        const at::Tensor hidden = at::tanh(at::mm(tokens_TD.narrow(0, t, 1), weights[0].select(0, e)));
        sum = sum + weight_TK.select(0, t).select(0, j) * at::mm(hidden, weights[1].select(0, e));
      }
      out.push_back(sum);
    }
    return at::cat(out);
  }
  std::vector<at::Tensor> inputs() const { return {tokens_TD, weight_TK, weights[0], weights[1]}; }
  std::vector<at::Tensor> take_gradients() const {
    std::vector<at::Tensor> gradients;
    for (at::Tensor input : inputs()) {
      gradients.push_back(input.grad());
      input.mutable_grad() = at::Tensor();
    }
    return gradients;
  }

  at::Tensor expert_TK, tokens_TD, weight_TK;
  std::vector<at::Tensor> weights;
  std::shared_ptr<const ToyCompute> compute = std::make_shared<ToyCompute>();
};

at::Tensor weighted_sum(const at::Tensor& out) { return (out * draws("probe", out.sizes())).sum(); }

void backward_of(const at::Tensor& loss, bool keep = false) { torch::autograd::backward({loss}, {}, keep); }

at::Tensor choices_of(int64_t top_k) {
  if (top_k == 1) return at::tensor({2, 0, -1, 2, 0, 2, 0}, at::kLong).view({7, 1});  // experts 1 and 3 have no rows
  if (top_k == 2) return at::tensor({2, 0, 0, -1, -1, -1, 1, 2, -1, 3, 0, 2, 3, 1}, at::kLong).view({7, 2});
  return at::tensor({2, 0, 3, 0, -1, 1, -1, -1, -1, 1, 2, 0, -1, 3, 1, 0, 2, -1, 3, 1, 2}, at::kLong).view({7, 3});
}

TEST(ExpertPipeline, EqualsALoopOverTokensAndExperts) {
  for (const int64_t top_k : {1, 2, 3}) {
    const PipelineCase pipeline(choices_of(top_k));
    EXPECT_TRUE(at::allclose(pipeline.run(), pipeline.dense(), 1e-13, 1e-13)) << top_k;
  }
}

TEST(ExpertPipeline, GradientsEqualThoseOfTheLoop) {
  for (const int64_t top_k : {1, 2, 3}) {
    const PipelineCase pipeline(choices_of(top_k));
    backward_of(weighted_sum(pipeline.dense()));
    const auto expected = pipeline.take_gradients();
    backward_of(weighted_sum(pipeline.run()));
    const auto got = pipeline.take_gradients();
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_TRUE(at::allclose(got[i], expected[i], 1e-12, 1e-13)) << top_k << ", input " << i;
  }
}

TEST(ExpertPipeline, GradientsEqualFiniteDifferences) {
  for (const int64_t top_k : {1, 2, 3}) {
    const PipelineCase pipeline(choices_of(top_k));
    expect_gradients([&] { return weighted_sum(pipeline.run()); }, pipeline.inputs());
  }
}

TEST(ExpertPipeline, DroppedChoicesAndExpertsWithoutRowsGetZeroGradients) {
  const PipelineCase pipeline(choices_of(1));
  backward_of(weighted_sum(pipeline.run()));
  const auto gradients = pipeline.take_gradients();
  EXPECT_EQ(gradients[0][2].abs().max().item<double>(), 0.0);  // token 2 goes nowhere
  EXPECT_EQ(gradients[1][2].item<double>(), 0.0);
  for (const int64_t expert : {1, 3}) {
    EXPECT_EQ(gradients[2][expert].abs().max().item<double>(), 0.0);
    EXPECT_EQ(gradients[3][expert].abs().max().item<double>(), 0.0);
  }
}

TEST(ExpertPipeline, ZeroTokensGiveZeroGradientsToTheWeights) {
  const PipelineCase pipeline(at::empty({0, 2}, at::kLong));
  const at::Tensor out = pipeline.run();
  EXPECT_EQ(out.sizes(), (at::IntArrayRef{0, kWidth}));
  backward_of(out.sum());
  const auto gradients = pipeline.take_gradients();
  EXPECT_EQ(gradients[0].sizes(), (at::IntArrayRef{0, kWidth}));
  EXPECT_TRUE(gradients[2].equal(at::zeros_like(gradients[2])));
  EXPECT_TRUE(gradients[3].equal(at::zeros_like(gradients[3])));
}

TEST(ExpertPipeline, EveryChoiceDroppedGivesZerosAllTheWay) {
  const PipelineCase pipeline(at::full({3, 2}, Assignment::kDropped, at::kLong));
  const at::Tensor out = pipeline.run();
  EXPECT_TRUE(out.equal(at::zeros({3, kWidth}, at::kDouble)));
  backward_of(out.sum());
  for (const at::Tensor& gradient : pipeline.take_gradients()) EXPECT_TRUE(gradient.equal(at::zeros_like(gradient)));
}

TEST(ExpertPipeline, OnlyWhatAsksForAGradientGetsOne) {
  PipelineCase pipeline(choices_of(2));
  pipeline.tokens_TD.requires_grad_(false);
  pipeline.weights[0].requires_grad_(false);
  backward_of(weighted_sum(pipeline.run()));
  const auto got = pipeline.take_gradients();
  EXPECT_FALSE(got[0].defined());
  EXPECT_FALSE(got[2].defined());
  backward_of(weighted_sum(pipeline.dense()));
  const auto expected = pipeline.take_gradients();
  EXPECT_TRUE(at::allclose(got[1], expected[1], 1e-12, 1e-13));
  EXPECT_TRUE(at::allclose(got[3], expected[3], 1e-12, 1e-13));
}

TEST(ExpertPipeline, KeepsNothingWithoutGradients) {
  const PipelineCase pipeline(choices_of(2));
  const at::Tensor expected = pipeline.run().detach();
  const at::NoGradGuard no_gradient;
  const at::Tensor out = pipeline.run();
  EXPECT_FALSE(out.requires_grad());
  EXPECT_FALSE(out.grad_fn());
  EXPECT_TRUE(pipeline.compute->kept.expired());
  EXPECT_TRUE(out.equal(expected));
}

TEST(ExpertPipeline, KeepsNothingWhereNoInputAsksForAGradient) {
  const PipelineCase pipeline(choices_of(2));
  for (at::Tensor input : pipeline.inputs()) input.requires_grad_(false);
  const at::Tensor out = pipeline.run();
  EXPECT_FALSE(out.requires_grad());
  EXPECT_TRUE(pipeline.compute->kept.expired());
}

TEST(ExpertPipeline, KeepsItsActivationsUntilBackwardAndNoLonger) {
  const PipelineCase pipeline(choices_of(2));
  const at::Tensor loss = weighted_sum(pipeline.run());
  EXPECT_FALSE(pipeline.compute->kept.expired());
  backward_of(loss);
  EXPECT_TRUE(pipeline.compute->kept.expired());  // though `loss` and its graph are still there
  EXPECT_THROW(backward_of(loss), c10::Error);
}

TEST(ExpertPipeline, DroppedGraphFreesItsActivations) {
  const PipelineCase pipeline(choices_of(2));
  { const at::Tensor out = pipeline.run(); }
  EXPECT_TRUE(pipeline.compute->kept.expired());
}

TEST(ExpertPipeline, RetainedGraphGivesTheSameGradientsTwice) {
  const PipelineCase pipeline(choices_of(2));
  const at::Tensor loss = weighted_sum(pipeline.run());
  backward_of(loss, /*keep=*/true);
  const auto first = pipeline.take_gradients();
  backward_of(loss);
  const auto second = pipeline.take_gradients();
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(first[i].equal(second[i])) << i;
}

TEST(ExpertPipeline, WeightsChangedBetweenForwardAndBackwardAreAnError) {
  const PipelineCase pipeline(choices_of(2));
  const at::Tensor loss = weighted_sum(pipeline.run());
  {
    const at::NoGradGuard no_gradient;
    at::Tensor weight = pipeline.weights[0];
    weight.mul_(2);
  }
  EXPECT_THROW(backward_of(loss), c10::Error);
}

TEST(ExpertPipeline, GradientThatIsNotContiguousAndTokensThatAreNot) {
  PipelineCase pipeline(choices_of(2));
  const at::Tensor probe = draws("probe", {kWidth, 7});
  backward_of((pipeline.run().t() * probe).sum());  // the gradient arrives transposed
  const auto got = pipeline.take_gradients();
  backward_of((pipeline.dense().t() * probe).sum());
  const auto expected = pipeline.take_gradients();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::allclose(got[i], expected[i], 1e-12, 1e-13)) << i;
  backward_of(pipeline.run().sum());  // the gradient arrives expanded from one number
  EXPECT_TRUE(pipeline.take_gradients()[0].defined());
  const at::Tensor turned = pipeline.tokens_TD.detach().t().contiguous().t();
  EXPECT_FALSE(turned.is_contiguous());
  EXPECT_TRUE(expert_pipeline(turned, {pipeline.expert_TK, pipeline.weight_TK, kExperts}, pipeline.compute,
                              pipeline.weights, one_rank(kExperts))
                  .equal(pipeline.run()));
}

/// Identity forward; its backward yields no gradient at all.
struct Swallow : torch::autograd::Function<Swallow> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x) { return x.clone(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*, torch::autograd::variable_list) {
    return {at::Tensor()};
  }
};

TEST(ExpertPipeline, NoGradientFromAboveIsNoGradientBelow) {
  const PipelineCase pipeline(choices_of(2));
  backward_of(Swallow::apply(pipeline.run()).sum());
  for (const at::Tensor& gradient : pipeline.take_gradients()) {
    EXPECT_TRUE(!gradient.defined() || gradient.equal(at::zeros_like(gradient)));
  }
}

TEST(ExpertPipeline, TwoRunsAgreeBitForBit) {
  const PipelineCase pipeline(choices_of(3));
  EXPECT_TRUE(pipeline.run().equal(pipeline.run()));
}

}  // namespace
}  // namespace parallel
