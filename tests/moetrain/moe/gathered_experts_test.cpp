// Experts whose rows are all here and gathered turn by turn: against plain autograd, and against rows that travel.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "moetrain/experts/adapted_experts.h"
#include "moetrain/experts/expert.h"
#include "moetrain/experts/expert_mix.h"
#include "moetrain/products/expert_turns.h"
#include "parallel/autograd/recompute.h"
#include "tests/moetrain/moe/travelling.h"
#include "tests/parallel/dispatch/toy_compute.h"
#include "tests/support/peak_bytes.h"
#include "tests/support/random_tensor.h"
#include "tests/support/threads.h"

namespace moetrain::gathered_experts {
namespace {

using parallel::ExpertCompute;
using Tensors = std::vector<at::Tensor>;

constexpr int64_t kExperts = 5, kTopK = 2, kWidth = 12, kHidden = 20;

/// How tokens choose.
struct Choice {
  const char* name;
  int64_t tokens;
  int64_t (*expert)(int64_t token, int64_t choice);
};
constexpr Choice kChoices[] = {
    {"spread", 700, [](int64_t t, int64_t j) { return (5 * t + 7 * j) % kExperts; }},
    {"a hot expert of two blocks and one without rows", kRowsOfBlock + 100,
     [](int64_t t, int64_t j) { return j == 0 ? 0 : 1 + t % (kExperts - 2); }},
    {"all on one expert", 900, [](int64_t, int64_t) { return int64_t{3}; }},
    {"drops", 500,
     [](int64_t t, int64_t j) { return (t + j) % 3 == 0 ? parallel::Assignment::kDropped : (t + j) % kExperts; }},
    {"all dropped", 30, [](int64_t, int64_t) { return parallel::Assignment::kDropped; }},
    {"few rows", 20, [](int64_t t, int64_t j) { return (t + j) % kExperts; }},
    {"no tokens", 0, [](int64_t, int64_t) { return int64_t{0}; }}};
constexpr const Choice &kSpread = kChoices[0], &kHot = kChoices[1], &kAllOnOne = kChoices[2];

/// A layer of feed-forward experts: leaves that ask for gradients.
class Layer {
 public:
  Layer(Activation activation, const Choice& choice, at::ScalarType type = at::kDouble) : activation_(activation) {
    const ExpertShape shape{.width = kWidth, .hidden = kHidden, .activation = activation};
    const MoeConfig config{.experts = kExperts, .top_k = kTopK, .hidden = kHidden};
    const auto table = builtin_experts();
    const ExpertPreset& preset = table.at("feed_forward");
    compute_ = preset.compute(shape, config);
    travelling_ = std::make_shared<Travelling>(compute_);
    expert_TK_ = at::empty({choice.tokens, kTopK}, at::kLong);
    for (int64_t t = 0; t < choice.tokens; ++t) {
      for (int64_t j = 0; j < kTopK; ++j) expert_TK_[t][j] = choice.expert(t, j);
    }
    at::Tensor weight_TK = random_tensor("weights of choices", {choice.tokens, kTopK});
    weight_TK.masked_fill_((at::arange(choice.tokens * kTopK).remainder(7) == 0).view({choice.tokens, kTopK}), 0);
    inputs_ = {random_tensor("tokens", {choice.tokens, kWidth}), weight_TK};
    for (const ExpertWeight& weight : preset.weights(shape, config)) {
      inputs_.push_back(random_tensor(weight.name, {kExperts, weight.dims[0], weight.dims[1]}, 0.3));
    }
    for (at::Tensor& input : inputs_) input = input.to(type).requires_grad_(true);
  }

  at::Tensor gathered() const { return run(compute_); }
  at::Tensor travelled() const { return run(travelling_); }
  /// Every expert of every token, by LibTorch's own gradients.
  at::Tensor dense() const {
    at::Tensor out_TD = at::zeros_like(inputs_[0]);
    for (int64_t e = 0; e < kExperts; ++e) {
      const at::Tensor first = at::mm(inputs_[0], inputs_[2][e]);
      at::Tensor hidden;
      if (activation_ == Activation::kSwiglu) hidden = at::silu(first) * at::mm(inputs_[0], inputs_[3][e]);
      if (activation_ == Activation::kGelu) hidden = at::gelu(first);
      if (activation_ == Activation::kRelu) hidden = at::relu(first);
      const at::Tensor weight_T = (inputs_[1] * (expert_TK_ == e)).sum(1);
      out_TD = out_TD + weight_T.unsqueeze(1) * at::mm(hidden, inputs_.back()[e]);
    }
    return out_TD;
  }
  /// Of the inputs that ask for one.
  Tensors gradients(const at::Tensor& out_TD, bool keep = false) const {
    Tensors asked;
    for (const at::Tensor& input : inputs_) {
      if (input.requires_grad()) asked.push_back(input);
    }
    return torch::autograd::grad({out_TD}, asked, {random_tensor("above", out_TD.sizes()).to(out_TD.scalar_type())},
                                 keep);
  }
  /// Of the products' weights.
  void freeze() {
    for (size_t i = 2; i < inputs_.size(); ++i) inputs_[i].requires_grad_(false);
  }

  int64_t rows() const { return (expert_TK_ >= 0).sum().item<int64_t>(); }
  int64_t tokens() const { return expert_TK_.size(0); }
  const Tensors& inputs() const { return inputs_; }
  const at::Tensor& expert_TK() const { return expert_TK_; }
  at::Tensor run_on(const at::Tensor& tokens_TD, const at::Tensor& weight_TK) const {
    return parallel::expert_pipeline(tokens_TD, {expert_TK_, weight_TK, kExperts}, compute_,
                                     {inputs_.begin() + 2, inputs_.end()}, parallel::one_rank(kExperts));
  }

 private:
  at::Tensor run(const std::shared_ptr<const ExpertCompute>& compute) const {
    return parallel::expert_pipeline(inputs_[0], {expert_TK_, inputs_[1], kExperts}, compute,
                                     {inputs_.begin() + 2, inputs_.end()}, parallel::one_rank(kExperts));
  }

  Activation activation_;
  std::shared_ptr<const ExpertCompute> compute_, travelling_;
  at::Tensor expert_TK_;
  Tensors inputs_;  // tokens, weights of choices, those of the products
};

constexpr Activation kActivations[] = {Activation::kSwiglu, Activation::kGelu, Activation::kRelu};

/// Beside the largest number.
double apart(const at::Tensor& got, const at::Tensor& wanted) {
  EXPECT_EQ(got.sizes(), wanted.sizes());
  if (wanted.numel() == 0) return 0;
  const double most = wanted.abs().max().item<double>(),
               off = (got.to(at::kDouble) - wanted.to(at::kDouble)).abs().max().item<double>();
  return most > 0 ? off / most : off;
}

void expect_alike(const Tensors& got, const Tensors& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_LE(apart(got[i], wanted[i]), tolerance) << "gradient " << i;
}

class GatheredExperts : public testing::TestWithParam<int> {
 private:
  const Threads own_{GetParam()};
};

TEST_P(GatheredExperts, EqualAutogradsOwn) {
  for (const Activation activation : kActivations) {
    for (const Choice& choice : kChoices) {
      SCOPED_TRACE(std::string(choice.name) + ", activation " + std::to_string(static_cast<int>(activation)));
      const Layer layer(activation, choice);
      const at::Tensor out_TD = layer.gathered(), wanted_TD = layer.dense();
      EXPECT_LE(apart(out_TD, wanted_TD), 1e-13);
      expect_alike(layer.gradients(out_TD), layer.gradients(wanted_TD), 1e-12);
    }
  }
}

TEST_P(GatheredExperts, EqualThoseWhoseRowsTravel) {
  for (const auto& [type, tolerance] : {std::pair(at::kDouble, 1e-13), std::pair(at::kFloat, 1e-5)}) {
    for (const Activation activation : kActivations) {
      for (const Choice& choice : kChoices) {
        SCOPED_TRACE(std::string(choice.name) + ", activation " + std::to_string(static_cast<int>(activation)));
        const Layer layer(activation, choice, type);
        const at::Tensor out_TD = layer.gathered(), wanted_TD = layer.travelled();
        EXPECT_EQ(out_TD.grad_fn()->name(), "GatheredExpertsBackward");
        EXPECT_EQ(wanted_TD.grad_fn()->name(), "ExpertPipelineBackward");
        EXPECT_LE(apart(out_TD, wanted_TD), tolerance);
        expect_alike(layer.gradients(out_TD), layer.gradients(wanted_TD), tolerance);
      }
    }
  }
}

double root_mean_square(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.square().mean().sqrt().item<double>();
}

/// From what float64 makes of the same numbers.
TEST_P(GatheredExperts, Bf16IsNoFartherOffThanOfRowsThatTravel) {
  for (const Activation activation : kActivations) {
    for (const Choice& choice : {kSpread, kHot}) {
      SCOPED_TRACE(std::string(choice.name) + ", activation " + std::to_string(static_cast<int>(activation)));
      const Layer low(activation, choice, at::kBFloat16);
      const Layer wide(activation, choice);
      for (size_t i = 0; i < wide.inputs().size(); ++i) {
        const at::NoGradGuard no_gradient;
        at::Tensor(wide.inputs()[i]).copy_(low.inputs()[i]);
      }
      const auto all = [](const Layer& layer, const at::Tensor& out_TD) {
        Tensors tensors = layer.gradients(out_TD, /*keep=*/true);
        tensors.push_back(out_TD.detach());
        return tensors;
      };
      const Tensors wanted = all(wide, wide.dense()), got = all(low, low.gathered()), old = all(low, low.travelled());
      for (size_t i = 0; i < wanted.size(); ++i) {
        const double off = root_mean_square(got[i].to(at::kDouble) - wanted[i]),
                     off_of_old = root_mean_square(old[i].to(at::kDouble) - wanted[i]);
        EXPECT_LE(off, 1.25 * off_of_old) << "tensor " << i;
        EXPECT_LE(off, 0.02 * root_mean_square(wanted[i])) << "tensor " << i;
      }
    }
  }
}

TEST_P(GatheredExperts, AGraphThatIsKeptGivesTheSameAgain) {
  for (const Activation activation : kActivations) {
    const Layer layer(activation, kHot);
    const at::Tensor out_TD = layer.gathered();
    const Tensors first = layer.gradients(out_TD, /*keep=*/true), second = layer.gradients(out_TD, /*keep=*/true),
                  last = layer.gradients(out_TD);
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_TRUE(first[i].equal(second[i])) << i;
      EXPECT_TRUE(first[i].equal(last[i])) << i;
    }
    EXPECT_THROW(layer.gradients(out_TD), c10::Error);
  }
}

TEST_P(GatheredExperts, FrozenOnesGiveTheOtherGradients) {
  for (const Activation activation : kActivations) {
    Layer layer(activation, kHot);
    const Tensors all = layer.gradients(layer.gathered());
    layer.freeze();
    expect_alike(layer.gradients(layer.gathered()), {all[0], all[1]}, 1e-13);
  }
}

TEST_P(GatheredExperts, WhatIsMadeAgainIsMadeTheSameWay) {
  const Layer layer(Activation::kSwiglu, kHot);
  const Tensors& inputs = layer.inputs();
  const auto part = [&](const Tensors& of) { return Tensors{layer.run_on(of[0], of[1])}; };
  const at::Tensor again_TD =
      parallel::recompute(part, part, {inputs[0], inputs[1]}, {inputs.begin() + 2, inputs.end()})[0];
  const at::Tensor out_TD = layer.gathered();
  EXPECT_TRUE(again_TD.equal(out_TD));
  expect_alike(layer.gradients(again_TD), layer.gradients(out_TD), 0);
}

TEST_P(GatheredExperts, TokensThatDoNotLieCloseTogether) {
  const Layer layer(Activation::kSwiglu, kSpread);
  const at::Tensor turned_TD = layer.inputs()[0].detach().t().contiguous().t();
  EXPECT_FALSE(turned_TD.is_contiguous());
  const at::Tensor out_TD = layer.gathered();
  EXPECT_TRUE(layer.run_on(turned_TD, layer.inputs()[1]).equal(out_TD));
  const at::Tensor above_DT = random_tensor("above", out_TD.sizes()).t().contiguous();  // arrives turned
  EXPECT_TRUE(torch::autograd::grad({out_TD.t()}, {layer.inputs()[0]}, {above_DT})[0].equal(
      layer.gradients(layer.gathered())[0]));
}

/// Of two widths, whose hidden units lie in columns of one tensor; and with adapters, of which all weights are trained.
TEST_P(GatheredExperts, MixedAndAdaptedOnesEqualThoseWhoseRowsTravel) {
  const ExpertShape shape{.width = kWidth, .hidden = kHidden};
  const auto kind = builtin_experts().at("feed_forward").compute(shape, {});
  constexpr int64_t kNarrow = 8, kFirst = 3, kRank = 2;
  const auto leaf = [](const char* name, at::IntArrayRef dims) {
    return random_tensor(name, dims, 0.3).requires_grad_(true);
  };
  const Tensors whole{leaf("gate", {kExperts, kWidth, kHidden}), leaf("up", {kExperts, kWidth, kHidden}),
                      leaf("down", {kExperts, kHidden, kWidth})};
  Tensors adapted = whole, mixed;
  adapted.push_back(leaf("a", {kExperts, kWidth, kRank}));
  adapted.push_back(leaf("b", {kExperts, kRank, kHidden}));
  for (const auto& [experts, hidden] : {std::pair(kFirst, kHidden), std::pair(kExperts - kFirst, kNarrow)}) {
    mixed.push_back(leaf("gate", {experts, kWidth, hidden}));
    mixed.push_back(leaf("up", {experts, kWidth, hidden}));
    mixed.push_back(leaf("down", {experts, hidden, kWidth}));
  }
  const std::pair<std::shared_ptr<const ExpertCompute>, Tensors> cases[] = {
      {std::make_shared<ExpertMix>(std::vector<ExpertMix::Part>{{kind, 3, "feed_forward"}, {kind, 3, "feed_forward"}}),
       mixed},
      {std::make_shared<AdaptedExperts>(kind, 3, std::vector<size_t>{1}, 1.5), adapted}};
  for (const auto& each : cases) {
    const Tensors& weights = each.second;
    const Layer layer(Activation::kSwiglu, kHot);
    Tensors inputs{layer.inputs()[0], layer.inputs()[1]};
    inputs.insert(inputs.end(), weights.begin(), weights.end());
    const auto all = [&](const std::shared_ptr<const ExpertCompute>& by, const char* node) {
      const at::Tensor out_TD = parallel::expert_pipeline(inputs[0], {layer.expert_TK(), inputs[1], kExperts}, by,
                                                          weights, parallel::one_rank(kExperts));
      EXPECT_EQ(out_TD.grad_fn()->name(), node);
      Tensors tensors = torch::autograd::grad({out_TD}, inputs, {random_tensor("above", out_TD.sizes())});
      tensors.push_back(out_TD.detach());
      return tensors;
    };
    expect_alike(all(each.first, "GatheredExpertsBackward"),
                 all(std::make_shared<Travelling>(each.first), "ExpertPipelineBackward"), 1e-13);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      Tensors of_type;
      for (const at::Tensor& input : inputs) of_type.push_back(input.detach().to(type).requires_grad_(true));
      const Tensors own(of_type.begin() + 2, of_type.end());
      const auto part = [&](const Tensors& of) {
        return Tensors{parallel::expert_pipeline(of[0], {layer.expert_TK(), of[1], kExperts}, each.first, own,
                                                 parallel::one_rank(kExperts))};
      };
      EXPECT_TRUE(parallel::recompute(part, part, {of_type[0], of_type[1]}, own)[0].equal(part(of_type)[0])) << type;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, GatheredExperts, testing::Values(1, 2, 3));

/// Whatever the load is; sorting aside, which a number of 8 bytes for each row and choice three times over covers.
TEST(GatheredMemory, OfARowOnlyWhatTheActivationNeedsIsKept) {
  for (const Activation activation : kActivations) {
    for (const Choice& choice : kChoices) {
      const Layer layer(activation, choice);
      const int64_t made = activation == Activation::kSwiglu ? 2 : 1;
      const int64_t hidden = layer.rows() * made * kHidden * 8, orders = 3 * 8 * layer.tokens() * kTopK;
      PeakBytes bytes;
      const at::Tensor out_TD = layer.gathered();
      const int64_t kept = bytes.now() - static_cast<int64_t>(out_TD.nbytes());
      EXPECT_GE(kept, hidden) << choice.name;
      EXPECT_LE(kept, hidden + orders + 256) << choice.name;
    }
  }
}

/// The copies of rows, their outputs, hidden units and their gradients are those of one block at a time.
TEST(GatheredMemory, WhatIsMadeOnTheWayIsOfABlock) {
  const Threads one(1);
  Layer layer(Activation::kSwiglu, kAllOnOne);
  layer.freeze();
  const int64_t rows = layer.rows(), of_tokens = layer.tokens() * kWidth * 8, orders = 8 * 8 * rows;
  PeakBytes bytes;
  const at::Tensor out_TD = layer.gathered();
  const int64_t kept = rows * 2 * kHidden * 8, block = kRowsOfBlock * (kWidth + 2 * kHidden) * 8,
                results = rows * kWidth * 8;
  EXPECT_LE(bytes.peak(), kept + results + block + of_tokens + orders);
  const at::Tensor above_TD = random_tensor("above", out_TD.sizes());
  const int64_t before = bytes.now();
  bytes.restart();
  torch::autograd::grad({out_TD}, {layer.inputs()[0], layer.inputs()[1]}, {above_TD});
  EXPECT_LE(bytes.peak() - before, results + block + of_tokens + orders);
}

}  // namespace
}  // namespace moetrain::gathered_experts
