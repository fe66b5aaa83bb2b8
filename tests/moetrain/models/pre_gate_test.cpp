// One router at a model's entrance: against its formulae written out, in decoding, and what teaches it.
#include "moetrain/routers/scores/pre_gate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/objectives/pre_gate_objective.h"
#include "tests/moetrain/models/small_model.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

MoeConfig entrance_moe(const char* gate, int64_t top_k, const PreGateConfig& own) {
  MoeConfig moe = small_moe();
  moe.router = "pre_gated";
  moe.top_k = top_k;
  moe.gate = gate;
  moe.own<PreGateConfig>() = own;
  return moe;
}

at::Tensor rms_by_hand(const at::Tensor& x_LW, const at::Tensor& weight_W) {
  return x_LW / (x_LW.square().mean(1, /*keepdim=*/true) + 1e-5).sqrt() * weight_W;
}

/// Each head turned by its place: numbers i and i + half of it together.
at::Tensor turned_by_hand(const at::Tensor& x_Ld) {
  at::Tensor out_Ld = at::empty_like(x_Ld);
  const int64_t half = x_Ld.size(1) / 2;
  for (int64_t place = 0; place < x_Ld.size(0); ++place) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(place) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(2 * half));
      const at::Tensor a = x_Ld[place][i], b = x_Ld[place][i + half];
      out_Ld[place][i] = a * std::cos(angle) - b * std::sin(angle);
      out_Ld[place][i + half] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
  return out_Ld;
}

/// Of one sequence.
at::Tensor logits_by_hand(const PreGate& gate, const PreGateConfig& config, const at::Tensor& ids_L) {
  const auto all = gate.named_parameters();
  at::Tensor x_LW = all["embedding"].index_select(0, ids_L);
  const int64_t width = config.width / config.heads, length = ids_L.size(0);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto weight = [&](const char* name) { return all["blocks." + std::to_string(layer) + "." + name]; };
    const at::Tensor seen_LW = rms_by_hand(x_LW, weight("attention_norm"));
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < config.heads; ++h) {
      const auto head = [&](const char* name) { return seen_LW.matmul(weight(name).t()).narrow(1, h * width, width); };
      const at::Tensor logits_LL = turned_by_hand(head("query")).matmul(turned_by_hand(head("key")).t());  // not scaled
      const at::Tensor later_LL = at::ones({length, length}, at::kBool).triu(1);
      heads.push_back(logits_LL.masked_fill(later_LL, -1e300).softmax(1).matmul(head("value")));
    }
    x_LW = x_LW + at::cat(heads, 1).matmul(weight("output").t());
    const at::Tensor fed_LW = rms_by_hand(x_LW, weight("ffn_norm")), gated = fed_LW.matmul(weight("gate").t());
    x_LW = x_LW + (gated * at::sigmoid(gated) * fed_LW.matmul(weight("up").t())).matmul(weight("down").t());
  }
  return rms_by_hand(x_LW, all["norm"]).matmul(all["weight"].t());
}

TEST(PreGate, IsWhatItsFormulaeSay) {
  const at::NoGradGuard no_gradient;
  const PreGateConfig config{2, 8, 2, 5, 12};
  const PreGate gate(ParameterSource(3, at::kDouble), config,
                     {.vocabulary = 11, .experts = 4, .layers = 2, .std = 0.6});
  const at::Tensor ids_G = random_tokens(1, 8).flatten();
  const Sequences sequences({5, 3}, at::kCPU);
  const at::Tensor logits_GE = gate.forward(ids_G, sequences, {});
  EXPECT_TRUE(
      at::allclose(logits_GE.narrow(0, 0, 5), logits_by_hand(gate, config, ids_G.narrow(0, 0, 5)), 1e-12, 1e-12));
  EXPECT_TRUE(
      at::allclose(logits_GE.narrow(0, 5, 3), logits_by_hand(gate, config, ids_G.narrow(0, 5, 3)), 1e-12, 1e-12));
  EXPECT_EQ(gate.private_LEF().sizes(), at::IntArrayRef({2, 4, 12}));
  EXPECT_TRUE(gate.private_LEF().sum(1).eq(1).all().item<bool>());  // at birth each unit is of one expert
}

TEST(PreGate, EveryLayerTakesTheOneDecision) {
  const auto model = model_of(small_config(), entrance_moe("raw", 2, {1, 8, 2, 5, 0}));
  const ModelOutput output = run_alone(*model, random_tokens(3, 6), false);
  ASSERT_EQ(output.routing.size(), 2u);
  const RoutingDecision &first = output.routing[0].decision, &second = output.routing[1].decision;
  EXPECT_TRUE(first.chosen_TK.equal(second.chosen_TK));
  EXPECT_TRUE(first.gate_TK.equal(second.gate_TK));
  EXPECT_TRUE(model->pre_gate()
                  ->forward(random_tokens(3, 6).flatten(), Sequences::uniform(3, 6, at::kCPU), {})
                  .equal(first.logits_TE));
}

TEST(PreGate, DecodesAsItReads) {
  const at::NoGradGuard no_gradient;
  const auto model = model_of(small_config(), entrance_moe("hard", 1, {2, 8, 2, 5, 0}));
  const at::Tensor tokens_SL = random_tokens(2, 7);
  const at::Tensor whole_SLD = run_alone(*model, tokens_SL, false).hidden_TD.view({2, 7, 8});
  parallel::LocalCommunicator alone;
  std::vector<BlockCache> caches;
  for (int64_t first = 0, count = 3; first < 7; first += count, count = 1) {
    const at::Tensor next_SLD =
        model->decode(TokenSide::whole(tokens_SL.narrow(1, first, count)), {.group = alone}, caches)
            .view({2, count, 8});
    EXPECT_TRUE(at::allclose(next_SLD, whole_SLD.narrow(1, first, count), 1e-12, 1e-12)) << first;
  }
  EXPECT_EQ(caches.size(), 4u);
}

TEST(PreGate, GradientThroughTheGatesEqualsFiniteDifferences) {
  const auto model = model_of(small_config(), entrance_moe("raw", 2, {1, 8, 2, 5, 0}));
  const at::Tensor tokens = random_tokens(2, 3), probe = random_tensor("probe", {6, 8});
  expect_gradients(
      [&] {
        const ModelOutput output = run_alone(*model, tokens, true);
        return (output.hidden_TD * probe).sum() + output.losses.sum();
      },
      model->pre_gate()->parameters(), 2e-6, /*samples=*/3);
}

TEST(PreGateObjective, ScoresAreTheGradedLargestUnitsOfEachExpert) {
  // m = 5: the largest of a row counts 5 / 15, the next 4 / 15, and so on.
  const at::Tensor hidden =
      at::tensor({9., -9., 8., 7., 6., 5., 0., 0., 1., 2., 3., 4., 5., 6.}, at::kDouble).view({2, 7});
  const at::Tensor own = at::tensor({1., 1., 0., 1., 1., 1., 0., 1., 0., 1., 0., 1., 1., 1.}, at::kDouble).view({2, 7});
  const at::Tensor scores = expert_scores(hidden, own) * 15;
  // Row 0: units 0, 2, 3, 4, 5 count 5, 4, 3, 2, 1; expert 0 has 0, 3, 4 and 5 of them, expert 1 has 0, 2, 4 and 5.
  EXPECT_NEAR(scores[0][0].item<double>(), 5 + 3 + 2 + 1, 1e-12);
  EXPECT_NEAR(scores[0][1].item<double>(), 5 + 4 + 2 + 1, 1e-12);
  // Row 1: units 6 to 2 count 5, 4, 3, 2, 1; expert 0 has 3, 4 and 5 of them, expert 1 has 2, 4, 5 and 6.
  EXPECT_NEAR(scores[1][0].item<double>(), 2 + 3 + 4, 1e-12);
  EXPECT_NEAR(scores[1][1].item<double>(), 1 + 3 + 4 + 5, 1e-12);
  const at::Tensor none = expert_scores(hidden, at::zeros_like(own));
  EXPECT_TRUE(none.eq(0).all().item<bool>());
}

TEST(PreGateObjective, LossIsOfTheBestExpertAndOfAll) {
  const at::Tensor logits = random_tensor("logits", {4, 3}), score = random_tensor("scores", {4, 3});
  const PreGateObjectiveConfig config{.hard = 0.75, .smoothing = 0.3};
  const at::Tensor losses = pre_gate_losses(logits, score, config);
  for (int64_t t = 0; t < 4; ++t) {
    const at::Tensor log_E = logits[t] - logits[t].exp().sum().log(), soft_E = score[t].exp() / score[t].exp().sum();
    at::Tensor target_E = at::full({3}, 0.3 / 3, at::kDouble);
    target_E[score[t].argmax().item<int64_t>()] += 0.7;
    const double expected = -(0.75 * (target_E * log_E).sum() + 0.25 * (soft_E * log_E).sum()).item<double>();
    EXPECT_NEAR(losses[t].item<double>(), expected, 1e-12);
  }
}

TEST(PreGate, LayersThatDoNotAgreeAreRefused) {
  MoeConfig one = entrance_moe("hard", 1, {1, 8, 2, 5, 0}), other = one;
  other.name = "wide";
  EXPECT_EQ(pre_gated_layers({one, small_moe(), other}).size(), 2u);
  other.own<PreGateConfig>().width = 12;
  EXPECT_THROW(pre_gated_layers({one, other}), parallel::UserError);
  other = one, other.experts = 5;
  EXPECT_THROW(pre_gated_layers({one, other}), parallel::UserError);
}

}  // namespace
}  // namespace moetrain
