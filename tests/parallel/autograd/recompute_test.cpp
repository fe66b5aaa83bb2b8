#include "parallel/autograd/recompute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "parallel/autograd/sum_over_ranks.h"
#include "parallel/base/fault.h"
#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

using Tensors = std::vector<at::Tensor>;

/// (tanh(x w), its squares, nothing).
Tensors layer(const at::Tensor& x, const at::Tensor& w) {
  const at::Tensor out = at::tanh(at::mm(x, w));
  return {out, out * out, {}};
}

class Count : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Count(int& fired) : fired_(fired) {}
  void operator()(const torch::autograd::Variable&) override { ++fired_; }

 private:
  int& fired_;
};

class RecomputeTest : public testing::Test {
 protected:
  Tensors layer_again(const at::Tensor& x) {
    const auto first = [&](const Tensors& inputs) { return ++firsts_, layer(inputs[0], w_); };
    const auto again = [this](const Tensors& inputs) { return ++agains_, layer(inputs[0], w_); };
    return recompute(first, again, {x, {}}, {w_});
  }

  at::Tensor x_ = random_tensor("x", {3, 4}).requires_grad_(true), w_ = random_tensor("w", {4, 4}).requires_grad_(true);
  int firsts_ = 0, agains_ = 0;
};

// Three uses of one weight: what matters is that their sum is made outside, in one place.
TEST_F(RecomputeTest, GivesTheBitsOfThePlainGradientAndFiresHooksOnce) {
  const auto gradients = [&](bool again) {
    const auto step = [&](const at::Tensor& x) { return again ? layer_again(x) : layer(x, w_); };
    const Tensors one = step(x_), two = step(one[0]), three = step(x_);
    torch::autograd::backward({(two[0] + two[1]).sum() + one[1].sum() + three[0].square().sum()}, {});
    return Tensors{std::exchange(x_.mutable_grad(), {}), std::exchange(w_.mutable_grad(), {})};
  };
  int fired = 0;
  torch::autograd::impl::set_post_acc_grad_hooks(w_, std::make_unique<Count>(fired));
  const Tensors plain = gradients(false);
  EXPECT_EQ(fired, 1);
  const Tensors again = gradients(true);
  EXPECT_EQ(fired, 2);
  EXPECT_EQ(firsts_, 3);
  EXPECT_EQ(agains_, 3);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(again[i].equal(plain[i])) << i;
}

TEST_F(RecomputeTest, KeepsNothingButTheInputs) {
  c10::weak_intrusive_ptr<c10::TensorImpl> between{c10::intrusive_ptr<c10::TensorImpl>()};
  const auto first = [&](const Tensors& inputs) {
    const at::Tensor hidden = at::tanh(inputs[0]);
    between = c10::weak_intrusive_ptr<c10::TensorImpl>(hidden.getIntrusivePtr());
    return Tensors{at::tanh(hidden)};
  };
  const at::Tensor out = recompute(first, first, {x_}, {})[0];
  EXPECT_TRUE(between.expired());
  EXPECT_TRUE(out.requires_grad());
}

TEST_F(RecomputeTest, WithoutGradientItIsTheFunction) {
  const at::NoGradGuard no_gradient;
  const Tensors out = layer_again(x_);
  EXPECT_TRUE(out[0].equal(layer(x_, w_)[0]));
  EXPECT_FALSE(out[0].requires_grad());
  EXPECT_FALSE(out[2].defined());
}

TEST_F(RecomputeTest, FrozenParametersAndInputsGetNone) {
  w_.requires_grad_(false);
  torch::autograd::backward({layer_again(x_)[0].sum()}, {});
  EXPECT_FALSE(w_.grad().defined());
  EXPECT_TRUE(x_.grad().defined());
  w_.requires_grad_(true);
  x_ = x_.detach();
  torch::autograd::backward({layer_again(x_)[0].sum()}, {});
  EXPECT_TRUE(w_.grad().defined());
  EXPECT_FALSE(x_.grad().defined());
}

// A rank without tokens skips layers, and the reducer's hooks look at the gradients of all.
TEST_F(RecomputeTest, AParameterThatIsNotReachedGetsZeros) {
  at::Tensor skipped = at::ones({2}, at::kDouble).requires_grad_(true);
  int fired = 0;
  torch::autograd::impl::set_post_acc_grad_hooks(skipped, std::make_unique<Count>(fired));
  const auto part = [this](const Tensors& inputs) { return layer(inputs[0], w_); };
  torch::autograd::backward({recompute(part, part, {x_}, {w_, skipped})[0].sum()}, {});
  EXPECT_EQ(fired, 1);
  EXPECT_TRUE(skipped.grad().equal(at::zeros({2}, at::kDouble)));
}

TEST_F(RecomputeTest, ASecondBackwardIsRefused) {
  const at::Tensor loss = layer_again(x_)[0].sum();
  torch::autograd::backward({loss}, {});
  EXPECT_ANY_THROW(torch::autograd::backward({loss}, {}));
}

// A weight that the optimizer moved in between would give the gradient of another function.
TEST_F(RecomputeTest, AWeightThatHasChangedSinceIsAnError) {
  const at::Tensor loss = layer_again(x_)[0].sum();
  {
    const at::NoGradGuard no_gradient;
    w_.add_(1);
  }
  EXPECT_ANY_THROW(torch::autograd::backward({loss}, {}));
}

TEST_F(RecomputeTest, CollectivesRunAgainOnAllRanksInOneOrder) {
  const auto world = test_world();
  const auto share = [&](const Tensors& inputs) {
    const at::Tensor sum = sum_over_ranks(at::mm(inputs[0], w_), *world);
    return Tensors{at::tanh(sum_over_ranks(sum * sum, *world))};
  };
  const auto gradients = [&](bool again) {
    at::Tensor x = x_;
    for (int i = 0; i < 3; ++i) x = again ? recompute(share, share, {x}, {w_})[0] : share({x})[0];
    torch::autograd::backward({x.sum()}, {});
    return Tensors{std::exchange(x_.mutable_grad(), {}), std::exchange(w_.mutable_grad(), {})};
  };
  const Tensors plain = gradients(false), again = gradients(true);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(again[i].equal(plain[i])) << i;
}

}  // namespace
}  // namespace parallel
