// Each published router against its formula written down by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "moetrain/routers/router.h"
#include "parallel/base/fault.h"
#include "parallel/base/random.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/bounded_experts.h"
#include "tests/support/random_tensor.h"

namespace moetrain {
namespace {

constexpr int64_t kPublishedTokens = 20, kPublishedWidth = 4, kPublishedExperts = 5, kPublishedLength = 4;
constexpr uint64_t kPublishedSeed = 9;

MoeConfig published(const char* router, int64_t top_k, const char* gate) {
  return {.router = router,
          .experts = kPublishedExperts,
          .top_k = top_k,
          .gate = gate,
          .losses = {{"load_balance", 0}, {"router_z", 0}}};
}

std::shared_ptr<Router> published_router(const MoeConfig& config) {
  return builtin_routers()
      .at(config.router)
      .make(ParameterSource(5, at::kDouble), config,
            {kPublishedWidth, 1.0, 0, builtin_capacities().at(config.capacity)});
}

struct Pass {
  bool training = true;
  int64_t layer = 3;
  int64_t step = 7;
};

RoutingDecision route_published(const MoeConfig& config, const at::Tensor& tokens_TD, const Pass& pass = {},
                                at::Tensor ids_T = {}) {
  parallel::LocalCommunicator alone;
  const BatchScope scope{.group = alone,
                         .global_tokens = tokens_TD.size(0),
                         .training = pass.training,
                         .draws = {kPublishedSeed, pass.step},
                         .sequence_T = at::arange(tokens_TD.size(0), at::kLong).div(kPublishedLength, "floor"),
                         .token_ids_T = ids_T};
  return published_router(config)->forward(tokens_TD, {.scope = scope, .layer = pass.layer});
}

at::Tensor published_tokens(int64_t tokens = kPublishedTokens) {
  return random_tensor("published", {tokens, kPublishedWidth});
}

std::map<std::string, at::Tensor> parameters_of(const MoeConfig& config) {
  std::map<std::string, at::Tensor> all;
  for (const auto& each : published_router(config)->named_parameters()) all[each.key()] = each.value().detach();
  return all;
}

void expect_equal(const at::Tensor& a, const at::Tensor& b) { EXPECT_TRUE(at::allclose(a, b, 1e-12, 1e-13)); }

TEST(Switch, TheGateIsTheLargestProbabilityOfTheJitteredToken) {
  MoeConfig config = published("switch", 1, "raw");
  config.jitter = 0.2;
  at::Tensor jittered = published_tokens().clone();
  const parallel::RandomStream stream(kPublishedSeed, "router jitter", 3, 7);
  for (int64_t t = 0; t < kPublishedTokens; ++t) {
    for (int64_t d = 0; d < kPublishedWidth; ++d) {
      const double factor = 0.8 + 0.4 * stream.uniform(t * kPublishedWidth + d);
      EXPECT_TRUE(0.8 <= factor && factor < 1.2);
      jittered[t][d] *= factor;
    }
  }
  const at::Tensor p_TE = at::softmax(at::mm(jittered, parameters_of(config).at("weight").t()), 1);
  const RoutingDecision decision = route_published(config, published_tokens());
  const auto [best_T, expert_T] = p_TE.max(1);
  EXPECT_TRUE(decision.assignment.expert_TK.flatten().equal(expert_T));
  expect_equal(decision.assignment.weight_TK.flatten(), best_T);
  const at::Tensor plain_TE = at::mm(published_tokens(), parameters_of(config).at("weight").t());
  expect_equal(route_published(config, published_tokens(), {.training = false}).logits_TE, plain_TE);
}

TEST(Gshard, TheSecondChoiceIsDrawnInProportionToItsGate) {
  // One token 4000 times: the second choice follows p over what the first leaves.
  const at::Tensor token = published_tokens(1), many = token.expand({4000, kPublishedWidth}).contiguous();
  const MoeConfig config = published("gshard", 2, "sum1_kept");
  const RoutingDecision decision = route_published(config, many);
  const at::Tensor p_E = at::softmax(at::mv(parameters_of(config).at("weight"), token[0]), 0);
  const int64_t first = p_E.argmax().item<int64_t>();
  EXPECT_TRUE((decision.chosen_TK.select(1, 0) == first).all().item<bool>());
  const at::Tensor count_E = at::bincount(decision.chosen_TK.select(1, 1), {}, kPublishedExperts);
  for (int64_t e = 0; e < kPublishedExperts; ++e) {
    const double share = e == first ? 0.0 : p_E[e].item<double>() / (1 - p_E[first].item<double>());
    EXPECT_NEAR(count_E[e].item<double>() / 4000, share, 4 * std::sqrt(share * (1 - share) / 4000) + 1e-12);
  }
}

TEST(Gshard, WeightsSumToOneAfterDrops) {
  MoeConfig config = published("gshard", 2, "sum1_kept");
  bound_experts(config, 0.5);
  const RoutingDecision decision = route_published(config, published_tokens());
  const at::Tensor kept_TK = decision.assignment.expert_TK >= 0;
  const at::Tensor sum_T = (decision.assignment.weight_TK * kept_TK).sum(1);
  expect_equal(sum_T, kept_TK.any(1).to(at::kDouble));
  std::set<int64_t> numbers_kept;
  for (int64_t t = 0; t < kPublishedTokens; ++t) numbers_kept.insert(kept_TK[t].sum().item<int64_t>());
  EXPECT_GT(numbers_kept.size(), 1u) << "no drop changed a weight";
  EXPECT_TRUE(at::isfinite(decision.assignment.weight_TK).all().item<bool>());
}

TEST(NoisyTopK, NoiseOfALearnedScaleInTrainingOnly) {
  const MoeConfig config = published("noisy_top_k", 2, "sum1");
  const RoutingDecision decision = route_published(config, published_tokens());
  const at::Tensor clean_TE = at::mm(published_tokens(), parameters_of(config).at("weight").t());
  const parallel::RandomStream stream(kPublishedSeed, "router noise", 3, 7);
  at::Tensor noisy_TE = clean_TE.clone();
  for (int64_t i = 0; i < noisy_TE.numel(); ++i) noisy_TE.view(-1)[i] += std::log(2.0) * stream.normal(i);
  expect_equal(decision.logits_TE, noisy_TE);  // the scale's weight starts at 0: softplus(0) = ln 2
  // softmax over the two chosen noisy logits alone
  expect_equal(decision.assignment.weight_TK, at::softmax(noisy_TE.gather(1, decision.chosen_TK), 1));
  expect_equal(route_published(config, published_tokens(), {.training = false}).logits_TE, clean_TE);
}

TEST(Cosine, LogitsAreCosinesOverTheTemperature) {
  MoeConfig config = published("cosine", 2, "raw");
  config.own<CosineConfig>().width = 3;
  const auto parameters = parameters_of(config);
  const at::Tensor &projection = parameters.at("projection"), &prototypes = parameters.at("prototypes");
  EXPECT_EQ(projection.sizes(), (at::IntArrayRef{3, kPublishedWidth}));
  const RoutingDecision decision = route_published(config, published_tokens());
  for (int64_t t = 0; t < kPublishedTokens; ++t) {
    const at::Tensor x = at::mv(projection, published_tokens()[t]);
    for (int64_t e = 0; e < kPublishedExperts; ++e) {
      const double cosine = (at::dot(x, prototypes[e]) / x.norm() / prototypes[e].norm()).item<double>();
      EXPECT_NEAR(decision.logits_TE[t][e].item<double>(), cosine / 0.3, 1e-12);
    }
  }
  EXPECT_EQ(parameters_of(published("cosine", 2, "raw")).at("projection").size(0), 2) << "experts / 2";
}

TEST(Hash, ATokenIdHasOneExpertWhateverStepAndPlace) {
  const at::Tensor ids = at::arange(kPublishedTokens, at::kLong) % 7;
  const MoeConfig config = published("hash", 1, "hard");
  const RoutingDecision decision = route_published(config, published_tokens(), {}, ids);
  const RoutingDecision later = route_published(config, published_tokens(), {.training = false, .step = 90}, ids);
  const at::Tensor expert_T = decision.assignment.expert_TK.flatten();
  EXPECT_TRUE(expert_T.equal(later.assignment.expert_TK.flatten()));
  EXPECT_TRUE(expert_T.narrow(0, 7, 7).equal(expert_T.narrow(0, 0, 7)));
  EXPECT_TRUE(decision.assignment.weight_TK.equal(at::ones({kPublishedTokens, 1}, at::kDouble)));
  EXPECT_TRUE(published_router(config)->parameters().empty());
  // Over many ids the experts are even: 1000 each, standard deviation 28.
  const at::Tensor many = at::arange(5000, at::kLong);
  const at::Tensor choices_E = route_published(config, published_tokens(5000), {}, many).global_choices_E;
  EXPECT_GT(choices_E.min().item<int64_t>(), 880);
}

/// The experts of one pass of thor as [sequences, length].
at::Tensor thor_experts(const char* granularity, const Pass& pass, int64_t tokens = 48) {
  MoeConfig config = published("thor", 1, "hard");
  config.own<ThorConfig>().granularity = granularity;
  if (!pass.training) config.own<ThorConfig>().inference = granularity;
  return route_published(config, published_tokens(tokens), pass).assignment.expert_TK.view({-1, kPublishedLength});
}

TEST(Thor, EachGranularitySharesItsDraw) {
  const at::Tensor batch = thor_experts("batch_layer", {});
  EXPECT_TRUE((batch == batch[0][0]).all().item<bool>());
  for (const bool training : {true, false}) {
    const at::Tensor sentence = thor_experts("sentence", {.training = training});
    EXPECT_TRUE((sentence == sentence.narrow(1, 0, 1)).all().item<bool>());
    EXPECT_FALSE((sentence == sentence[0][0]).all().item<bool>());
    const at::Tensor token = thor_experts("token", {.training = training});
    EXPECT_FALSE((token == token.narrow(1, 0, 1)).all().item<bool>());
  }
}

TEST(Thor, SlicesGiveEveryExpertItsShare) {
  const at::Tensor experts = thor_experts("slices", {});  // 12 sequences over 5 experts: 2 or 3 each
  EXPECT_TRUE((experts == experts.narrow(1, 0, 1)).all().item<bool>());
  const at::Tensor count_E = at::bincount(experts.select(1, 0).contiguous(), {}, kPublishedExperts);
  EXPECT_EQ(count_E.min().item<int64_t>(), 2);
  EXPECT_EQ(count_E.max().item<int64_t>(), 3);
}

TEST(Thor, ASequenceSeesAUniformDrawOverStepsAndLayers) {
  for (const char* granularity : {"batch_layer", "sentence", "token", "slices"}) {
    std::vector<int64_t> count(kPublishedExperts, 0);
    for (int64_t step = 0; step < 500; ++step) {
      ++count[static_cast<size_t>(
          thor_experts(granularity, {.layer = step % 3, .step = step}, 8)[1][2].item<int64_t>())];
    }
    for (const int64_t each : count) EXPECT_NEAR(static_cast<double>(each), 100, 40) << granularity;  // 4.5 deviations
  }
}

TEST(Thor, AnEnsembleIsTheMeanOfAllExperts) {
  MoeConfig config = published("thor", 1, "hard");
  config.own<ThorConfig>().inference = "ensemble";
  const RoutingDecision decision = route_published(config, published_tokens(), {.training = false});
  EXPECT_TRUE(decision.assignment.expert_TK[4].equal(at::arange(kPublishedExperts, at::kLong)));
  expect_equal(decision.assignment.weight_TK, at::full({kPublishedTokens, kPublishedExperts}, 0.2, at::kDouble));
}

}  // namespace
}  // namespace moetrain
