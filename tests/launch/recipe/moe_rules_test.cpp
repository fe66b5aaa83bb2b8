// What [moe] may not say.
#include <gtest/gtest.h>

#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

TEST(MoeRules, TopKIsAtMostTheExperts) {
  EXPECT_EQ(broken_rule({"moe.top_k=9"}),
            "moe.top_k (9) must be at most moe.experts (8); nearest legal: top_k = 8 or experts = 9");
}

TEST(MoeRules, Sum1NeedsTwoChoices) {
  EXPECT_EQ(broken_rule({"moe.top_k=1"}),
            "moe.gate = \"sum1\" with moe.top_k = 1 makes every combine weight 1, from which the router learns "
            "nothing; nearest legal: gate = \"raw\" (as Switch) or top_k = 2");
}

/// Combinations of [moe] that make no sense: the keys, and what is said of them.
struct Refusal {
  std::vector<std::string> keys;
  std::string message;
};

/// The defaults' losses are switched off, or they would be the first thing refused.
std::vector<std::string> unlearned(const std::string& router, const std::vector<std::string>& more = {}) {
  std::vector<std::string> keys{"moe.router=" + router, "moe.top_k=1", "moe.gate=hard", "moe.losses.load_balance=0",
                                "moe.losses.router_z=0"};
  keys.insert(keys.end(), more.begin(), more.end());
  return keys;
}

const Refusal kRefusals[] = {
    {{"moe.router=switch"},  // Switch is top-1 by definition
     "moe.top_k (2) with moe.router = \"switch\": it sends a token to 1 expert; nearest legal: top_k = 1"},
    {{"moe.router=switch", "moe.top_k=1", "moe.gate=hard"},  // the raw gate is how its router learns from the task
     "moe.gate = \"hard\" with moe.router = \"switch\": not the gate from which this router learns; nearest legal: "
     "gate "
     "= \"raw\""},
    {{"moe.router=gshard", "moe.top_k=3"},  // its second choice is the drawn one; there is no third
     "moe.top_k (3) with moe.router = \"gshard\": it sends a token to 2 experts; nearest legal: top_k = 2"},
    {{"moe.router=gshard", "moe.gate=raw"},  // its weights sum to 1 after drops
     "moe.gate = \"raw\" with moe.router = \"gshard\": not the gate from which this router learns; nearest legal: gate "
     "= "
     "\"sum1_kept\""},
    {{"moe.router=noisy_top_k", "moe.top_k=1"},  // softmax over one logit is 1
     "moe.gate = \"sum1\" with moe.top_k = 1 makes every combine weight 1, from which the router learns nothing; "
     "nearest "
     "legal: gate = \"raw\" (as Switch) or top_k = 2"},
    {{"moe.router=cosine", "moe.gate=sum1_kept", "moe.top_k=1"},  // the same, after drops
     "moe.gate = \"sum1_kept\" with moe.top_k = 1 makes every combine weight 1, from which the router learns nothing; "
     "nearest legal: gate = \"raw\" (as Switch) or top_k = 2"},
    {{"moe.gate=hard"},  // no gradient reaches the router
     "moe.gate = \"hard\" with moe.router = \"top_k\": not the gate from which this router learns; nearest legal: gate "
     "= "
     "\"raw\" or \"sum1\" or \"sum1_kept\" or \"true1\" or \"straight_through\""},
    {{"moe.gate=true1"},  // the same as sum1
     "moe.gate = \"true1\" without zero or null experts is sum1; nearest legal: gate = \"sum1\" or null_experts = 1"},
    {{"moe.router=sigmoid_bias", "moe.sigmoid_bias.groups=3",
      "moe.sigmoid_bias.top_groups=2"},  // groups are of equal size
     "moe.sigmoid_bias.groups (3) must divide the experts of a layer (8); nearest legal: groups = 2"},
    {{"moe.router=sigmoid_bias", "moe.sigmoid_bias.groups=8",
      "moe.sigmoid_bias.top_groups=1"},  // one open expert, two wanted
     "moe.sigmoid_bias.top_groups (1) of groups (8), each of 1 experts, for moe.top_k (2): nearest legal: top_groups = "
     "2"},
    {{"moe.router=sigmoid_bias", "moe.sigmoid_bias.groups=2", "moe.sigmoid_bias.top_groups=3"},  // more than there are
     "moe.sigmoid_bias.top_groups (3) of groups (2), each of 4 experts, for moe.top_k (2): nearest legal: top_groups = "
     "2"},
    {{"moe.router=expert_choice", "moe.gate=raw", "moe.losses.load_balance=0"},  // what an expert takes is its capacity
     "moe.capacity = \"dropless\" and moe.bound.drop = \"position\" with moe.router = \"expert_choice\": an expert "
     "takes its "
     "most probable tokens up to its capacity; nearest legal: capacity = \"factor\" and bound.drop = \"probability\""},
    {{"moe.router=expert_choice", "moe.gate=raw", "moe.capacity=factor",
      "moe.bound.drop=probability"},  // f is constant
     "moe.losses.load_balance (0.01) with moe.router = \"expert_choice\": its experts take equally many tokens; "
     "nearest "
     "legal: "
     "load_balance = 0"},
    {{"moe.capacity=by_kind"},  // there is one kind
     "moe.capacity = \"by_kind\" without constant, copy, zero or null experts is \"factor\"; nearest legal: capacity = "
     "\"factor\" or zero_experts = 1"},
    {{"moe.load_balance.kind_weight=0.5"},  // the same
     "moe.load_balance.kind_weight (0.5) without constant, copy, zero or null experts weighs nothing; nearest legal: "
     "kind_weight = 1"},
    {{"moe.load_balance.over=global_batch", "moe.load_balance.choices=first"},  // earlier first choices are not kept
     "moe.load_balance.over = \"global_batch\" with moe.load_balance.choices = \"first\": only all choices are counted "
     "over micro-batches; nearest legal: choices = \"all\" or over = \"micro_batch\""},
    {{"moe.router=soft", "moe.gate=raw", "moe.losses.load_balance=0"},  // the one model there is, is a decoder
     "moe.router = \"soft\" in a decoder block: it mixes a sequence's tokens, so that each would see later ones; "
     "nearest "
     "legal: router = \"top_k\", or this one in an encoder"},
    {unlearned("hash", {"moe.gating_residual=true"}),  // its table is fixed
     "moe.gating_residual with moe.router = \"hash\": its choice is fixed, whatever the layer before thought; nearest "
     "legal: gating_residual = false"},
    {{"moe.losses.load=0.1"},  // without noise there is no chance of being chosen
     "moe.losses.load (0.1) with moe.router = \"top_k\": the load of importance + load is a probability under noise of "
     "a "
     "learned scale (noisy_top_k); nearest legal: load = 0"},
    {{"moe.router=noisy_top_k", "moe.top_k=8", "moe.losses.load=0.1"},  // every expert is always chosen
     "moe.losses.load (0.1) with moe.router = \"noisy_top_k\": with moe.top_k = moe.experts (8) every expert is chosen "
     "whatever the noise; nearest legal: load = 0"},
    {{"moe.losses.importance=0.1", "moe.experts=1", "moe.top_k=1"},  // an unbiased variance of one number
     "moe.losses.importance (0.1) with moe.router = \"top_k\": one expert has no variation; nearest legal: importance "
     "= 0"},
    {unlearned("hash", {"moe.top_k=2"}),  // one hash gives one expert
     "moe.top_k (2) with moe.router = \"hash\": it sends a token to 1 expert; nearest legal: top_k = 1"},
    {unlearned("hash", {"moe.gate=raw"}),  // its one-hot softmax is no weight that learns
     "moe.gate = \"raw\" with moe.router = \"hash\": it has no probabilities to weigh by; nearest legal: gate = "
     "\"hard\""},
    {unlearned("hash", {"moe.losses.router_z=0.1"}),  // nothing to learn
     "moe.losses.router_z (0.1) with moe.router = \"hash\": this router has no parameter that the loss could move; "
     "nearest "
     "legal: router_z = 0"},
    {unlearned("hash", {"moe.capacity=factor", "moe.bound.drop=probability"}),  // all ties
     "moe.bound.drop = \"probability\" with moe.router = \"hash\": all its gates are equal, so none is the lowest; "
     "nearest "
     "legal: drop = \"random\" or \"position\""},
    {unlearned("thor", {"moe.losses.load_balance=0.01"}),  // it has no router
     "moe.losses.load_balance (0.01) with moe.router = \"thor\": this router has no parameter that the loss could "
     "move; "
     "nearest "
     "legal: load_balance = 0"},
    {unlearned("thor", {"moe.jitter=0.01"}),  // nothing is jittered
     "moe.jitter (0.01) with moe.router = \"thor\": this router does not read the tokens; nearest legal: jitter = 0"},
    {unlearned("thor", {"moe.capacity=factor"}),  // dropping what is balanced by construction only loses tokens
     "moe.capacity = \"factor\" with moe.router = \"thor\": its load is even in expectation and its method drops no "
     "token; nearest legal: capacity = \"dropless\""},
};

// Each for the reason beside it; moe.layers = all of 4 blocks, model.width = 192.
const Refusal kExpertRefusals[] = {
    {{"moe.shared_combine=residual", "moe.shared_gate=false"},  // one branch
     "moe.shared_combine = \"residual\" with moe.shared_hidden = 0: there is no shared expert to mix with; nearest "
     "legal: shared_combine = \"add\" or shared_hidden = 256"},
    {{"moe.shared_combine=residual", "moe.shared_hidden=64"},  // two gates
     "moe.shared_gate = true with moe.shared_combine = \"residual\": the learned mix weighs the shared expert already; "
     "nearest legal: shared_gate = false or shared_combine = \"add\""},
    {{"moe.latent=192"},  // not narrower
     "moe.latent (192) must be below model.width (192), or nothing gets narrower; nearest legal: latent = 191 or "
     "latent = 0"},
    {unlearned("hash", {"moe.zero_experts=1"}),  // nothing learns which tokens need less
     "moe.zero_experts (1) with moe.router = \"hash\": such experts are for a router that learns which tokens need "
     "less; nearest legal: zero_experts = 0 or router = \"top_k\""},
    {{"moe.top_k=15", "moe.null_experts=6"},  // all kinds are choices
     "moe.top_k (15) must be at most the experts of all kinds (14); nearest legal: top_k = 14 or experts = 9"},
    {{"moe.expert=gru"},  // a recurrence over one token
     "moe.expert = \"gru\" with moe.rows = \"tokens\": gru experts read whole sequences; nearest legal: rows = "
     "\"sequences\" or expert = \"feed_forward\""},
    {{"moe.rows=sequences"},  // a decoder has no whole sequence
     "moe.rows = \"sequences\" in a decoder block, whose tokens come one after another; nearest legal: rows = "
     "\"tokens\", or a model whose blocks see whole sequences (model.kind = \"classifier\", an encoder)"},
    {{"moe.rows=sequences", "model.kind=classifier", "moe.router=soft", "moe.gate=raw", "moe.losses.load_balance=0"},
     "moe.rows = \"sequences\" with moe.router = \"soft\": it goes by single tokens; nearest legal: rows = \"tokens\", "
     "or router = \"hecto\""},
    {{"moe.expert=feed_forward:7"},  // of 8
     "moe.expert = \"feed_forward:7\": these are 7 experts, and moe.experts is 8; legal: one kind for all experts, or "
     "several with their numbers, such as \"gru:1,feed_forward:3\", a width of their own in brackets, "
     "\"feed_forward(128):3\""},
    {{"moe.experts_by_layer=[4, 8]"},  // one number a block
     "moe.experts_by_layer has 2 numbers, but moe.layers = \"all\" of 4 blocks is 4 blocks with experts; "
     "legal: 4 numbers, or none for moe.experts everywhere"},
    {{"moe.experts_by_layer=[4, 1, 8, 8]"},  // every block is held to the rules
     "block 1, whose moe.experts is 1 by moe.experts_by_layer: moe.top_k (2) must be at most moe.experts (1); nearest "
     "legal: top_k = 1 or experts = 2"},
};

TEST(MoeRules, ExpertCombinationsWithoutSenseAreRefused) {
  for (const Refusal& refusal : kExpertRefusals) EXPECT_EQ(broken_rule(refusal.keys), refusal.message);
}

TEST(MoeRules, EveryKindOfExpertHasALegalRecipe) {
  EXPECT_EQ(broken_rule({"moe.zero_experts=1", "moe.copy_experts=1", "moe.constant_experts=2"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.null_experts=8", "moe.top_k=10"}), "no fault");  // more than there are FFN experts
  EXPECT_EQ(broken_rule({"moe.shared_combine=residual", "moe.shared_gate=false", "moe.shared_hidden=256",
                         "moe.layers=odd", "moe.experts_by_layer=[4, 8]"}),
            "no fault");
  EXPECT_EQ(broken_rule({"moe.latent=191", "model.activation=relu"}), "no fault");
  EXPECT_EQ(broken_rule({"model.kind=classifier", "moe.rows=sequences", "moe.expert=gru:2,feed_forward:6"}),
            "no fault");
  EXPECT_EQ(broken_rule({"moe.layers=none", "moe.experts_by_layer=[4]", "moe.latent=192"}), "no fault");  // not used
}

TEST(MoeRules, RouterCombinationsWithoutSenseAreRefused) {
  for (const Refusal& refusal : kRefusals) EXPECT_EQ(broken_rule(refusal.keys), refusal.message);
}

TEST(MoeRules, EveryPublishedRouterHasALegalRecipe) {
  EXPECT_EQ(broken_rule({"moe.router=switch", "moe.top_k=1", "moe.gate=raw", "moe.jitter=0.01"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.router=gshard", "moe.gate=sum1_kept", "moe.load_balance.choices=first"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.router=noisy_top_k", "moe.losses.importance=0.1", "moe.losses.load=0.1"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.router=cosine", "moe.gate=raw", "moe.top_k=1"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.router=mlp", "moe.gate=true1", "moe.gating_residual=true", "moe.zero_experts=1",
                         "moe.capacity=by_kind", "moe.load_balance.kind_weight=0.75"}),
            "no fault");
  EXPECT_EQ(broken_rule({"moe.router=sigmoid_bias", "moe.sigmoid_bias.groups=4", "moe.sigmoid_bias.top_groups=2"}),
            "no fault");
  EXPECT_EQ(broken_rule({"moe.router=expert_choice", "moe.gate=raw", "moe.capacity=factor",
                         "moe.bound.drop=probability", "moe.losses.load_balance=0"}),
            "no fault");
  EXPECT_EQ(broken_rule({"moe.router=sinkhorn", "moe.gate=raw", "moe.top_k=1"}), "no fault");
  EXPECT_EQ(broken_rule(unlearned("hash", {"moe.capacity=factor"})), "no fault");
  EXPECT_EQ(broken_rule(unlearned("thor", {"moe.thor.granularity=batch_layer"})), "no fault");
}

TEST(MoeRules, MoeLayersAreBlocksOfTheModel) {
  EXPECT_EQ(broken_rule({"moe.layers=0,4"}),
            "moe.layers = \"0,4\": block 4 is out of range; legal: 0 to 3, the model has 4 blocks");
}

}  // namespace
}  // namespace launch
