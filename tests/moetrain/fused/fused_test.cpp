// Each operation against LibTorch's composition of the same formula, and its gradients against finite differences.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

#include "moetrain/fused/activations.h"
#include "moetrain/fused/rms_norm.h"
#include "moetrain/fused/rotation.h"
#include "moetrain/fused/softmax.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

using Inputs = std::vector<at::Tensor>;

struct Outcome {
  at::Tensor value;
  Inputs gradients;
};

/// With a gradient from above that is not the same everywhere.
Outcome outcome_of(const std::function<at::Tensor(const Inputs&)>& function, const Inputs& inputs) {
  Inputs leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_(true));
  const at::Tensor value = function(leaves);
  const at::Tensor above = random_tensor("above", value.sizes()).to(value.scalar_type());
  torch::autograd::backward({value}, {above});
  Outcome outcome{value.detach(), {}};
  for (const at::Tensor& leaf : leaves) outcome.gradients.push_back(leaf.grad());
  return outcome;
}

void expect_same(const Outcome& a, const Outcome& b, double tolerance) {
  EXPECT_TRUE(at::allclose(a.value, b.value, tolerance, tolerance));
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    EXPECT_TRUE(at::allclose(a.gradients[i], b.gradients[i], tolerance, tolerance)) << "gradient " << i;
  }
}

constexpr std::pair<at::ScalarType, double> kTypes[] = {{at::kDouble, 1e-13}, {at::kFloat, 2e-5}, {at::kBFloat16, 0.1}};

void expect_equal_by_both(const std::function<at::Tensor(const Inputs&)>& fused,
                          const std::function<at::Tensor(const Inputs&)>& composed, const Inputs& inputs) {
  for (const auto& [type, tolerance] : kTypes) {
    Inputs typed;
    for (const at::Tensor& input : inputs) typed.push_back(input.to(type));
    expect_same(outcome_of(fused, typed), outcome_of(composed, typed), tolerance);
  }
}

TEST(Fused, SwigluEqualsItsComposition) {
  const auto fused = [](const Inputs& in) { return swiglu(in[0], in[1]); };
  const auto composed = [](const Inputs& in) { return at::silu(in[0]) * in[1]; };
  expect_equal_by_both(fused, composed, {random_tensor("gate", {5, 37}), random_tensor("up", {5, 37})});
  expect_equal_by_both(fused, composed, {random_tensor("gate", {37, 5}).t(), random_tensor("up", {37, 5}).t()});
  expect_equal_by_both(fused, composed, {random_tensor("gate", {0, 5}), random_tensor("up", {0, 5})});
  const at::Tensor gate = random_tensor("gate", {3, 7}).requires_grad_(true);
  const at::Tensor up = random_tensor("up", {3, 7}).requires_grad_(true);
  expect_gradients([&] { return swiglu(gate, up).square().sum(); }, {gate, up});
}

TEST(Fused, GeluEqualsLibTorchs) {
  for (const auto& [type, tolerance] : kTypes) {
    const at::Tensor x = random_tensor("x", {6, 43}, 3).to(type), grad = random_tensor("grad", {6, 43}).to(type);
    at::Tensor out = at::empty_like(x), grad_x = at::empty_like(x);
    exact_gelu_out(out, x);
    exact_gelu_backward_out(grad_x, grad, x);
    EXPECT_TRUE(at::allclose(out, at::gelu(x), tolerance, tolerance));
    EXPECT_TRUE(at::allclose(grad_x, at::gelu_backward(grad, x), tolerance, tolerance));
  }
}

TEST(Fused, RmsNormEqualsLibTorchs) {
  const auto fused = [](const Inputs& in) { return rms_norm(in[0], in[1], 1e-6); };
  const auto composed = [](const Inputs& in) { return at::rms_norm(in[0], in[1].sizes(), in[1], 1e-6); };
  expect_equal_by_both(fused, composed, {random_tensor("x", {200, 19}), random_tensor("weight", {19})});
  expect_equal_by_both(fused, composed, {random_tensor("x", {3, 4, 8}), random_tensor("weight", {8})});
  expect_equal_by_both(fused, composed, {random_tensor("x", {8, 3}).t(), random_tensor("weight", {8})});
  expect_equal_by_both(fused, composed, {random_tensor("x", {0, 8}), random_tensor("weight", {8})});
  const at::Tensor x = random_tensor("x", {4, 6}).requires_grad_(true);
  const at::Tensor weight = random_tensor("weight", {6}).requires_grad_(true);
  expect_gradients([&] { return rms_norm(x, weight, 1e-6).square().sum(); }, {x, weight});
}

TEST(Fused, RotationEqualsItsComposition) {
  const at::Tensor angle = random_tensor("angle", {5, 4}), x = random_tensor("x", {2, 5, 3, 8}).transpose(1, 2);
  for (const bool neighbours : {false, true}) {
    const auto fused = [&](const Inputs& in) {
      return rotate_pairs(in[0], angle.cos().to(in[0].scalar_type()), angle.sin().to(in[0].scalar_type()), neighbours);
    };
    const auto composed = [&](const Inputs& in) {
      const at::Tensor pairs =
          neighbours ? in[0].reshape({2, 3, 5, 4, 2}) : in[0].reshape({2, 3, 5, 2, 4}).transpose(3, 4);
      const at::Tensor a = pairs.select(4, 0), b = pairs.select(4, 1);
      const at::Tensor cos = angle.cos().to(a.scalar_type()), sin = angle.sin().to(a.scalar_type());
      const at::Tensor turned = at::stack({a * cos - b * sin, b * cos + a * sin}, 4);
      return (neighbours ? turned : turned.transpose(3, 4)).reshape({2, 3, 5, 8});
    };
    expect_equal_by_both(fused, composed, {x});
    const at::Tensor leaf = x.contiguous().requires_grad_(true);
    expect_gradients([&] { return fused({leaf}).pow(3).sum(); }, {leaf});
  }
}

TEST(Fused, SoftmaxGradientIsWhatAutogradMakesOfCrossEntropy) {
  const at::Tensor target = at::tensor({4, 0, 1499}, at::kLong);
  const at::Tensor logits = random_tensor("logits", {3, 1500}, 3).requires_grad_(true);
  const double smoothing = 0.2;
  const at::Tensor loss = at::cross_entropy_loss(logits, target, {}, at::Reduction::Sum, -100, smoothing);
  torch::autograd::backward({loss}, {});
  at::Tensor gradient = logits.detach().clone();
  const SoftmaxRows rows = softmax_gradient_(gradient, {target, 1 - smoothing, smoothing / 1500});
  EXPECT_TRUE(at::allclose(gradient, logits.grad(), 1e-13, 1e-15));
  EXPECT_TRUE(
      at::allclose(rows.exponentials_C.log() + rows.largest_C, at::logsumexp(logits.detach(), 1), 1e-13, 1e-13));
  EXPECT_TRUE(at::allclose(rows.sum_C, logits.detach().sum(1), 1e-12, 1e-12));
}

TEST(Fused, ThreadsHaveNoSay) {
  const at::Tensor x = random_tensor("x", {600, 300}), weight = random_tensor("weight", {300});
  const auto all = [&] {
    Outcome outcome = outcome_of([](const Inputs& in) { return rms_norm(in[0], in[1], 1e-6); }, {x, weight});
    at::Tensor gradient = x.clone();
    softmax_gradient_(gradient, {at::zeros({600}, at::kLong)});
    outcome.gradients.push_back(gradient);
    outcome.gradients.push_back(swiglu(x, x.flip(0)));
    return outcome;
  };
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Outcome one = all();
  at::set_num_threads(3);
  const Outcome three = all();
  at::set_num_threads(before);
  EXPECT_TRUE(one.value.equal(three.value));
  for (size_t i = 0; i < one.gradients.size(); ++i) EXPECT_TRUE(one.gradients[i].equal(three.gradients[i])) << i;
}

TEST(Fused, ThereIsOneOpenMpRuntime) {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> runtimes;
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    if (path != std::string::npos &&
        (line.find("gomp", path) != std::string::npos || line.find("iomp", path) != std::string::npos)) {
      runtimes.insert(line.substr(path));
    }
  }
  EXPECT_EQ(runtimes.size(), 1u) << testing::PrintToString(runtimes);
}

}  // namespace
}  // namespace moetrain
