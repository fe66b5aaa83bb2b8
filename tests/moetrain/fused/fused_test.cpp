// Each operation against LibTorch's composition of the same formula, and its gradients against finite differences.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <set>
#include <string>

#include "moetrain/fused/activations.h"
#include "moetrain/fused/attention.h"
#include "moetrain/fused/rms_norm.h"
#include "moetrain/fused/rotation.h"
#include "moetrain/fused/softmax.h"
#include "parallel/base/fault.h"
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

TEST(Fused, SwigluAgainGivesWhatForwardGaveAndTheGradientsInPlace) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const bool transposed : {false, true}) {  // not swept
      const auto drawn = [&, kind = type](const char* name) {
        const at::Tensor x = random_tensor(name, {37, 37}).to(kind);
        return transposed ? x.t() : x;
      };
      at::Tensor gate = drawn("gate").clone(), up = drawn("up").clone(), hidden = at::empty_like(gate);
      const at::Tensor grad = drawn("grad");
      at::Tensor wanted = at::empty_like(gate), grad_gate = at::empty_like(gate), grad_up = at::empty_like(gate);
      swiglu_out(wanted, gate, up);
      swiglu_backward_out(grad_gate, grad_up, grad, gate, up);
      swiglu_again_(gate, up, hidden, grad);
      EXPECT_TRUE(hidden.equal(wanted));
      EXPECT_TRUE(gate.allclose(grad_gate, tolerance, tolerance));
      EXPECT_TRUE(up.allclose(grad_up, tolerance, tolerance));
    }
  }
}

/// Of tensors that lie close together by one sweep, of others by LibTorch.
TEST(Fused, WeightedActivationsAreTheSameByBoth) {
  using Again = void (*)(std::vector<at::Tensor> & made, const WeightedHidden& all);
  const Again kinds[] = {
      [](std::vector<at::Tensor>& made, const WeightedHidden& all) { swiglu_weighted_again_(made[0], made[1], all); },
      [](std::vector<at::Tensor>& made, const WeightedHidden& all) { exact_gelu_weighted_again_(made[0], all); },
      [](std::vector<at::Tensor>& made, const WeightedHidden& all) { relu_weighted_again_(made[0], all); }};
  for (const auto& [type, tolerance] : kTypes) {
    for (const Again again : kinds) {
      std::vector<Inputs> of_layout;
      for (const bool close : {true, false}) {
        const auto placed = [&, typed = type](const char* name) {
          const at::Tensor rows = random_tensor(name, {6, 43}, 2).to(typed);
          return close ? rows : at::constant_pad_nd(rows, {0, 3}).narrow(1, 0, 43);
        };
        Inputs made{placed("gate"), placed("up")};
        WeightedHidden all{.hidden_RF = placed("nothing"),
                           .grad_RF = placed("grad"),
                           .weight_R = random_tensor("weight", {6}).to(type),
                           .grad_weight_R = at::empty({6}, at::TensorOptions(type))};
        again(made, all);
        of_layout.push_back({made[0], made[1], all.hidden_RF, all.grad_weight_R});
      }
      for (size_t i = 0; i < of_layout[0].size(); ++i)
        EXPECT_TRUE(at::allclose(of_layout[0][i], of_layout[1][i], tolerance, tolerance)) << type << ", " << i;
    }
  }
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
  at::Tensor idle = random_tensor("weight", {19});
  idle.narrow(0, 3, 4).zero_();  // of which the output gives no input back
  expect_equal_by_both(fused, composed, {random_tensor("x", {200, 19}), idle});
}

TEST(Fused, RmsNormKeepsItsOutputInThePlaceOfItsInput) {
  for (const double last : {1.0, 0.0}) {
    const at::Tensor weight = at::ones({4}, at::kDouble);
    weight[3].fill_(last);
    at::Tensor x = random_tensor("x", {8, 4}).requires_grad_(true) * 2;
    const c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> input(x.getIntrusivePtr());
    const at::Tensor y = rms_norm(x, weight, 1e-6);
    x = at::Tensor();
    EXPECT_EQ(input.expired(), last != 0);
  }
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

/// softmax(q k^T scale) v as it is written. sinks: undefined or a logit of each head.
at::Tensor written_attention(const Inputs& in, const SoftmaxAttention& how) {
  const int64_t shared = in[0].size(1) / in[1].size(1), keys = in[1].size(2);
  const double never = -std::numeric_limits<double>::infinity();
  at::Tensor logits = at::matmul(in[0] * how.scale, in[1].repeat_interleave(shared, 1).transpose(2, 3));
  if (how.seen) logits = logits.masked_fill(how.seen->logical_not(), never);
  if (how.causal) logits = logits.masked_fill(at::ones({in[0].size(2), keys}, at::kBool).triu(1), never);
  const at::Tensor sink = in.size() > 3
                              ? in[3].view({1, -1, 1, 1}).expand({logits.size(0), -1, logits.size(2), 1})
                              : at::full({logits.size(0), logits.size(1), logits.size(2), 1}, never, logits.options());
  const at::Tensor p = at::cat({logits, sink}, 3).softmax(3).narrow(3, 0, keys);
  return at::matmul(p, in[2].repeat_interleave(shared, 1));
}

at::Tensor fused_attention(const Inputs& in, SoftmaxAttention how) {
  if (in.size() > 3) how.sinks_H = in[3];
  EXPECT_TRUE(has_attention(in[0], in[1], in[2]));
  return softmax_attention(in[0], in[1], in[2], how);
}

void expect_same_attention(const Inputs& inputs, const SoftmaxAttention& how) {
  for (const auto& [type, tolerance] : {std::pair(at::kDouble, 1e-12), std::pair(at::kFloat, 1e-4)}) {
    Inputs typed;
    for (const at::Tensor& input : inputs) typed.push_back(input.to(type));
    expect_same(outcome_of([&](const Inputs& in) { return fused_attention(in, how); }, typed),
                outcome_of([&](const Inputs& in) { return written_attention(in, how); }, typed), tolerance);
  }
}

/// 4 heads, of `sharing` neighbours one key/value head.
Inputs attention_inputs(int64_t length, int64_t keys, int64_t sharing, int64_t value_width) {
  return {random_tensor("query", {2, length, 4, 6}).transpose(1, 2),
          random_tensor("key", {2, keys, 4 / sharing, 6}).transpose(1, 2),
          random_tensor("value", {2, 4 / sharing, keys, value_width})};
}

TEST(Fused, AttentionEqualsItsFormula) {
  for (const int64_t length : {1, 7, 48, 101}) {
    for (const bool causal : {false, true}) {
      expect_same_attention(attention_inputs(length, length, 1, 6), {.causal = causal, .scale = 0.4});
      expect_same_attention(attention_inputs(length, length, 2, 17), {.causal = causal, .scale = 0.4});
    }
    expect_same_attention(attention_inputs(length, 55, 4, 6), {.scale = 0.4});
  }
}

TEST(Fused, AttentionToWhatIsSeenAndToSinks) {
  Inputs inputs = attention_inputs(51, 51, 2, 6);
  const at::Tensor keys_S11K =
      (at::arange(102).view({2, 1, 1, 51}) % 5).ne(3).index_fill(3, at::tensor({0}, at::kLong), 1);
  const at::Tensor window_LK = at::ones({51, 51}, at::kBool).triu(-9);
  expect_same_attention(inputs, {.seen = keys_S11K, .scale = 0.4});
  expect_same_attention(inputs, {.seen = window_LK, .causal = true, .scale = 0.4});
  inputs.push_back(random_tensor("sinks", {4}));
  expect_same_attention(inputs, {.causal = true, .scale = 0.4});
  expect_same_attention(inputs, {.seen = keys_S11K, .scale = 0.4});
}

TEST(Fused, AQueryThatSeesNothingGivesZerosAndGetsNone) {
  const Inputs inputs = attention_inputs(5, 5, 1, 6);
  const at::Tensor seen_LK = at::ones({5, 5}, at::kBool).index_fill(0, at::tensor({2}, at::kLong), 0);
  const Outcome outcome = outcome_of([&](const Inputs& in) { return fused_attention(in, {.seen = seen_LK}); }, inputs);
  EXPECT_TRUE(outcome.value.select(2, 2).eq(0).all().item<bool>());
  EXPECT_TRUE(outcome.gradients[0].select(2, 2).eq(0).all().item<bool>());
  for (const at::Tensor& gradient : outcome.gradients) EXPECT_TRUE(gradient.isfinite().all().item<bool>());
}

TEST(Fused, ANanStaysOneInAttention) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Inputs inputs = attention_inputs(5, 5, 1, 6);
  const auto of = [](const Inputs& in) { return fused_attention(in, {.causal = true}); };
  Inputs queries = inputs, keys = inputs;
  queries[0] = inputs[0].clone();
  queries[0].select(2, 3).fill_(nan);
  const at::Tensor of_query = of(queries).isnan().all(3);  // [2, 4, 5]: the place's whole row, and no other
  EXPECT_TRUE(of_query.select(2, 3).all().item<bool>());
  EXPECT_EQ(of_query.sum().item<int64_t>(), 2 * 4);
  keys[1] = inputs[1].clone();
  keys[1].select(2, 0).fill_(nan);
  EXPECT_TRUE(of(keys).isnan().all().item<bool>());  // all see the first key, and its own query nothing else
}

TEST(Fused, ShapesThatDoNotBelongTogetherAreRefused) {
  const Inputs inputs = attention_inputs(5, 5, 1, 6);
  EXPECT_THROW(fused_attention({inputs[0], inputs[1].narrow(3, 0, 4), inputs[2]}, {}), parallel::InternalError);
  EXPECT_THROW(fused_attention({inputs[0], inputs[1].narrow(0, 0, 1), inputs[2].narrow(0, 0, 1)}, {}),
               parallel::InternalError);
  const at::Tensor x = at::ones({1, 2, 5, 6}, at::kDouble), table = at::ones({4, 3}, at::kDouble);
  EXPECT_THROW(rotate_pairs(x, table, table, false), parallel::InternalError);
  EXPECT_THROW(rms_norm(x, at::ones({4}, at::kDouble), 1e-6), parallel::InternalError);
}

TEST(Fused, AttentionOfNothing) {
  for (const auto& [sequences, length] : {std::pair(0, 5), std::pair(2, 0)}) {
    const at::Tensor none = at::empty({sequences, 4, length, 6}, at::kDouble);
    const Outcome outcome =
        outcome_of([&](const Inputs& in) { return fused_attention(in, {.causal = true}); }, {none, none, none});
    EXPECT_EQ(outcome.value.sizes(), none.sizes());
  }
}

TEST(Fused, AttentionsGradientsEqualFiniteDifferences) {
  Inputs inputs = attention_inputs(4, 4, 2, 3);
  inputs.push_back(random_tensor("sinks", {4}));
  for (at::Tensor& input : inputs) input = input.contiguous().requires_grad_(true);
  expect_gradients([&] { return fused_attention(inputs, {.causal = true, .scale = 0.4}).pow(3).sum(); }, inputs);
}

TEST(Fused, ThreadsHaveNoSay) {
  const at::Tensor x = random_tensor("x", {600, 300}), weight = random_tensor("weight", {300});
  const auto all = [&] {
    Outcome outcome = outcome_of([](const Inputs& in) { return rms_norm(in[0], in[1], 1e-6); }, {x, weight});
    at::Tensor gradient = x.clone();
    softmax_gradient_(gradient, {at::zeros({600}, at::kLong)});
    outcome.gradients.push_back(gradient);
    outcome.gradients.push_back(swiglu(x, x.flip(0)));
    const Outcome attended = outcome_of([](const Inputs& in) { return fused_attention(in, {.causal = true}); },
                                        attention_inputs(300, 300, 2, 6));
    outcome.gradients.push_back(attended.value);
    for (const at::Tensor& each : attended.gradients) outcome.gradients.push_back(each);
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
