// Recomputed blocks give the bits of kept ones, and select nothing again.
#include "moetrain/models/recompute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "moetrain/losses/load_balance.h"
#include "moetrain/objectives/distillation.h"
#include "moetrain/objectives/objective.h"
#include "moetrain/objectives/two_pass.h"
#include "moetrain/routers/composed_router.h"
#include "moetrain/routers/selections/selections.h"
#include "parallel/base/fault.h"
#include "tests/moetrain/models/small_translator.h"
#include "tests/support/bounded_experts.h"

namespace moetrain {
namespace {

struct RecomputeCase {
  const char* name;
  void (*change)(ModelConfig& model, MoeConfig& moe, ObjectiveConfig& objective);
};

void choose(MoeConfig& moe, const char* router, int64_t top_k, const char* gate) {
  moe.router = router;
  moe.top_k = top_k;
  moe.gate = gate;
  if (std::string(gate) == "hard") moe.losses["load_balance"] = moe.losses["router_z"] = 0;
}

const RecomputeCase kCases[] = {
    {"plain", [](auto&, auto&, auto&) {}},
    {"dense", [](auto&, auto& m, auto&) { m.layers = "none"; }},
    {"dense_and_experts_with_dropout", [](auto& c, auto& m, auto&) { m.layers = "odd", c.dropout = 0.2; }},
    {"all_losses",
     [](auto&, auto& m, auto&) {
       choose(m, "noisy_top_k", 2, "sum1");
       for (const auto& loss : builtin_losses().names()) m.losses[loss] = 0.1;
     }},
    {"balance_in_sequences", [](auto&, auto& m, auto&) { m.template own<LoadBalanceConfig>().over = "sequence"; }},
    {"drop_at_random", [](auto&, auto& m, auto&) { bound_experts(m, 0.6, "random"); }},
    {"switch_with_jitter",
     [](auto&, auto& m, auto&) { choose(m, "switch", 1, "raw"), m.jitter = 0.1, m.capacity = "factor"; }},
    {"gshard", [](auto&, auto& m, auto&) { choose(m, "gshard", 2, "sum1_kept"), m.capacity = "factor"; }},
    {"cosine", [](auto&, auto& m, auto&) { choose(m, "cosine", 1, "raw"); }},
    {"mlp_with_gating_residual",
     [](auto&, auto& m, auto&) {
       choose(m, "mlp", 3, "true1"), m.gating_residual = true, m.copy_experts = m.constant_experts = 2;
     }},
    {"sigmoid_bias",
     [](auto&, auto& m, auto&) {
       choose(m, "sigmoid_bias", 2, "sum1"), m.template own<SigmoidBiasConfig>().groups = 2;
     }},
    {"expert_choice",
     [](auto&, auto& m, auto&) {
       choose(m, "expert_choice", 2, "raw"), bound_experts(m, 1.25, "probability"), m.losses["load_balance"] = 0;
     }},
    {"sinkhorn", [](auto&, auto& m, auto&) { choose(m, "sinkhorn", 1, "raw"); }},
    {"hash", [](auto&, auto& m, auto&) { choose(m, "hash", 1, "hard"); }},
    {"thor_two_passes",
     [](auto&, auto& m, auto& o) {
       choose(m, "thor", 1, "hard"), o.kind = "two_pass", o.template own<TwoPassConfig>().consistency = 5.0;
     }},
    {"two_passes_with_dropout", [](auto& c, auto&, auto& o) { o.kind = "two_pass", c.dropout = 0.1; }},
    {"distillation",
     [](auto&, auto&, auto& o) { o.kind = "distillation", o.template own<DistillationConfig>().temperature = 2.0; }},
    {"residual_shared_and_latent",
     [](auto& c, auto& m, auto&) {
       m.latent = 5, m.shared_gate = false, m.shared_combine = "residual", c.norm = "layer", c.activation = "gelu";
     }},
    {"attention_modules",
     [](auto&, auto& m, auto&) {
       MoeConfig heads = m;
       heads.name = "heads", heads.expert = "heads", heads.hidden = 16, heads.shared_hidden = 0, heads.jitter = 0.1;
       m.placement = "moe:0; heads.attention:all", m.named = {heads};
     }},
};

struct Gradients {
  std::vector<at::Tensor> losses, parameters;
};

template <class Kind>
std::shared_ptr<Model> build(const ModelConfig& config, const MoeConfig& moe, uint64_t seed = 29) {
  return std::make_shared<Kind>(config, moe, kVocabulary, ParameterSource(seed, at::kDouble), MoeTables());
}

Gradients gradients_of(Model& model, const ModelInputs& inputs, const ObjectiveConfig& objective,
                       const std::shared_ptr<Model>& teacher, Recompute recompute) {
  parallel::LocalCommunicator alone;
  Batch batch{.inputs = inputs, .targets_G = inputs.tokens.ids_T.roll(2).clone()};
  const PassScope pass{.group = alone, .training = true, .draws = {3, 5}, .recompute = recompute};
  const ObjectiveOutput output =
      builtin_objectives().at(objective.kind).make({objective, teacher})->forward(model, batch, pass, {7, 2});
  torch::autograd::backward({output.losses.sum()}, {});
  Gradients result;
  for (const LossTerm& term : output.losses.terms()) result.losses.push_back(term.share.detach());
  for (at::Tensor parameter : model.parameters()) {
    result.parameters.push_back(std::exchange(parameter.mutable_grad(), at::Tensor()));
  }
  return result;
}

/// `tolerance`: of a gradient, against its largest element; 0 for the same bits.
void expect_same(const Gradients& a, const Gradients& b, double tolerance) {
  ASSERT_EQ(a.losses.size(), b.losses.size());
  for (size_t i = 0; i < a.losses.size(); ++i) EXPECT_TRUE(a.losses[i].equal(b.losses[i])) << "loss " << i;
  for (size_t i = 0; i < a.parameters.size(); ++i) {
    ASSERT_EQ(a.parameters[i].defined(), b.parameters[i].defined()) << "parameter " << i;
    if (!a.parameters[i].defined()) continue;
    const double apart = (a.parameters[i] - b.parameters[i]).abs().max().item<double>();
    EXPECT_LE(apart, tolerance * b.parameters[i].abs().max().item<double>()) << "parameter " << i;
  }
}

class RecomputedModel : public testing::TestWithParam<RecomputeCase> {
 protected:
  template <class Kind>
  void expect_same_gradients(ModelConfig config, const ModelInputs& inputs, double tolerance) {
    MoeConfig moe = small_moe();
    ObjectiveConfig objective;
    GetParam().change(config, moe, objective);
    const auto model = build<Kind>(config, moe), teacher = build<Kind>(config, moe, 30);
    const Gradients kept = gradients_of(*model, inputs, objective, teacher, Recompute::kNone);
    for (const Recompute recompute : {Recompute::kMoe, Recompute::kBlock}) {
      SCOPED_TRACE(recompute == Recompute::kMoe ? "moe" : "block");
      expect_same(gradients_of(*model, inputs, objective, teacher, recompute), kept, tolerance);
    }
  }
};

TEST_P(RecomputedModel, DecoderHasTheBitsOfTheKeptOne) {
  expect_same_gradients<DecoderLm>(small_config(), {.tokens = TokenSide::whole(random_tokens(3, 5))}, 0);
}

// Every decoder block adds to the gradient of the encoder's output: keys and values of each block one after another, or
// both together, which rounds otherwise.
TEST_P(RecomputedModel, EncoderDecoderHasTheGradientOfTheKeptOne) {
  expect_same_gradients<EncoderDecoder>(small_translator_config(), small_pairs().inputs(), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(All, RecomputedModel, testing::ValuesIn(kCases),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Recompute, SoftSlotsOfAnEncoder) {
  MoeConfig moe = small_moe("0,1");
  choose(moe, "soft", 1, "raw");
  moe.losses["load_balance"] = 0;
  const auto model = build<EncoderDecoder>(small_translator_config(), moe);
  const Gradients kept = gradients_of(*model, small_pairs().inputs(), {}, nullptr, Recompute::kNone);
  for (const Recompute recompute : {Recompute::kMoe, Recompute::kBlock}) {
    expect_same(gradients_of(*model, small_pairs().inputs(), {}, nullptr, recompute), kept, 1e-12);
  }
}

int64_t selections = 0;

/// Another choice each time it is asked, as a near-tie that rounding decides.
at::Tensor select_in_turn(const Candidates& candidates, const MoeConfig& config, const RoutingContext&) {
  const int64_t tokens = candidates.logits_TE.size(0), experts = candidates.logits_TE.size(1);
  const at::Tensor first_T1 = at::arange(tokens, at::kLong).unsqueeze(1) + selections++;
  return (first_T1 + at::arange(config.top_k, at::kLong)).remainder(experts);
}

TEST(Recompute, SelectsNothingInBackward) {
  MoeTables tables;
  tables.routers.add("in_turn", {[](const ParameterSource& source, const MoeConfig& config, const RouterShape& shape) {
                       const ScoresInput input{source, config, shape};
                       return compose_router({.scores = linear_scores(input), .selection = &select_in_turn}, input);
                     }});
  MoeConfig moe = small_moe();
  moe.router = "in_turn";
  DecoderLm model(small_config(), moe, kVocabulary, ParameterSource(29, at::kDouble), tables);
  const ModelInputs inputs{.tokens = TokenSide::whole(random_tokens(3, 5))};
  Gradients kept;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kMoe, Recompute::kBlock}) {
    selections = 0;
    const Gradients found = gradients_of(model, inputs, {}, nullptr, recompute);
    EXPECT_EQ(selections, 2);  // one for each of the two blocks
    if (recompute == Recompute::kNone) kept = found;
    expect_same(found, kept, 0);
  }
}

}  // namespace
}  // namespace moetrain
