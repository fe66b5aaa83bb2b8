#include "optim/updates/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "parallel/base/fault.h"
#include "tests/optim/noise.h"

namespace optim {
namespace {

/// The paper's formula for one number.
struct ScalarAdamw {
  double weight, first = 0, second = 0;
  void step(double gradient, int64_t update, double learning_rate, double decay, const OptimizerConfig& config) {
    first = config.beta1 * first + (1 - config.beta1) * gradient;
    second = config.beta2 * second + (1 - config.beta2) * gradient * gradient;
    const double unbiased_first = first / (1 - std::pow(config.beta1, static_cast<double>(update)));
    const double unbiased_second = second / (1 - std::pow(config.beta2, static_cast<double>(update)));
    weight -= learning_rate * (unbiased_first / (std::sqrt(unbiased_second) + config.epsilon) + decay * weight);
  }
};

const OptimizerConfig kConfig{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.3};

std::vector<Parameter> as_parameters(const std::vector<at::Tensor>& tensors) {
  std::vector<Parameter> parameters;
  for (const at::Tensor& tensor : tensors) parameters.push_back({"weight", tensor});
  return parameters;
}

/// Runs `steps` updates on tensors of 0, 1, 2 and 3 dims and compares every element with the formula.
void expect_formula(at::ScalarType type, double tolerance, const std::function<double(int64_t)>& scale_of) {
  const std::vector<std::vector<int64_t>> shapes{{}, {5}, {3, 4}, {2, 3, 17}};
  std::vector<at::Tensor> weights;
  std::vector<std::vector<ScalarAdamw>> expected;
  for (const auto& shape : shapes) {
    weights.push_back(noise("weights", static_cast<int64_t>(weights.size()), shape, type));
    const at::Tensor flat = weights.back().to(at::kDouble).flatten();
    expected.emplace_back();
    for (int64_t i = 0; i < flat.numel(); ++i) expected.back().push_back({flat[i].item<double>()});
  }
  AdamW adamw(as_parameters(weights), kConfig);
  for (int64_t step = 1; step <= 6; ++step) {
    const double learning_rate = 0.01 * static_cast<double>(step), scale = scale_of(step);
    std::vector<at::Tensor> gradients;
    for (size_t w = 0; w < weights.size(); ++w) {
      gradients.push_back(noise("gradients", 10 * step + static_cast<int64_t>(w), shapes[w], type));
      const at::Tensor flat = gradients.back().to(at::kDouble).flatten();
      const double decay = shapes[w].size() >= 2 ? kConfig.weight_decay : 0.0;
      for (int64_t i = 0; i < flat.numel(); ++i) {
        expected[w][static_cast<size_t>(i)].step(flat[i].item<double>() * scale, step, learning_rate, decay, kConfig);
      }
    }
    adamw.step(gradients, {.learning_rate = learning_rate, .gradient_scale = scale, .number = step});
  }
  for (size_t w = 0; w < weights.size(); ++w) {
    const auto flat = [](const at::Tensor& tensor) { return tensor.to(at::kDouble).flatten().contiguous(); };
    const at::Tensor weight = flat(weights[w]), first = flat(adamw.state(0)[w]), second = flat(adamw.state(1)[w]);
    for (int64_t i = 0; i < weight.numel(); ++i) {
      const ScalarAdamw& one = expected[w][static_cast<size_t>(i)];
      EXPECT_NEAR(weight[i].item<double>(), one.weight, tolerance) << w << ", " << i;
      EXPECT_NEAR(first[i].item<double>(), one.first, tolerance) << w << ", " << i;
      EXPECT_NEAR(second[i].item<double>(), one.second, tolerance) << w << ", " << i;
    }
  }
}

TEST(AdamW, FollowsTheFormulaInFloat64) {
  expect_formula(at::kDouble, 1e-13, [](int64_t) { return 1.0; });
}

TEST(AdamW, FollowsTheFormulaInFloat32) {
  expect_formula(at::kFloat, 2e-6, [](int64_t) { return 1.0; });
}

// 0.37 / step is no float32 number: the scale must be as exact as the gradients.
TEST(AdamW, GradientScaleMultipliesTheGradientsInFloat64) {
  expect_formula(at::kDouble, 1e-13, [](int64_t step) { return 0.37 / static_cast<double>(step); });
}

TEST(AdamW, GradientScaleMultipliesTheGradientsInFloat32) {
  expect_formula(at::kFloat, 2e-6, [](int64_t step) { return 0.37 / static_cast<double>(step); });
}

TEST(AdamW, DecayMovesMatricesOnly) {
  const at::Tensor matrix = at::ones({2, 2}, at::kDouble), gain = at::ones({4}, at::kDouble);
  AdamW adamw(as_parameters({gain, matrix}), kConfig);
  adamw.step({at::zeros({4}, at::kDouble), at::zeros({2, 2}, at::kDouble)}, {.learning_rate = 0.1});
  EXPECT_TRUE(gain.equal(at::ones({4}, at::kDouble)));
  EXPECT_TRUE(at::allclose(matrix, at::full({2, 2}, 1 - 0.1 * 0.3, at::kDouble), 1e-15, 1e-15));
}

TEST(AdamW, WeightsThatRequireGradientsAreUpdatedInPlace) {
  const at::Tensor weight = at::ones({2, 2}, at::kDouble).requires_grad_(true);
  AdamW adamw(as_parameters({weight.detach()}), kConfig);
  adamw.step({at::ones({2, 2}, at::kDouble)}, {.learning_rate = 0.1});
  EXPECT_LT(weight.max().item<double>(), 1.0);
  EXPECT_TRUE(weight.is_leaf());
}

TEST(AdamW, NothingToUpdateAndTooFewGradients) {
  AdamW nothing({}, kConfig);
  nothing.step({}, {.learning_rate = 0.1});
  AdamW adamw(as_parameters({at::ones({2}, at::kDouble)}), kConfig);
  EXPECT_THROW(adamw.step({}, {.learning_rate = 0.1}), parallel::InternalError);
}

}  // namespace
}  // namespace optim
