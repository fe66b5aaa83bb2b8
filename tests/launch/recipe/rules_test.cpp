#include "launch/recipe/rules.h"

#include <gtest/gtest.h>

#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

/// What check_rules says of the defaults with a data file and these overrides.
std::string broken_rule(const std::vector<std::string>& overrides) {
  Recipe recipe = parse_recipe("[data]\nfile = \"tokens.h5\"\n", "recipe.toml", overrides);
  return fault_of([&] { check_rules(recipe); });
}

TEST(Rules, DefaultsWithADataFileAreLegal) { EXPECT_EQ(broken_rule({}), "no fault"); }

TEST(Rules, LegalCombinationsPass) {
  EXPECT_EQ(broken_rule({"run.precision=float64", "run.device=cuda"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.capacity_factor=3.0"}), "no fault") << "unused without capacity = factor";
  EXPECT_EQ(broken_rule({"moe.gate=raw", "moe.top_k=1"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.experts=1", "moe.top_k=1"}), "no fault");
  EXPECT_EQ(broken_rule({"moe.layers=none", "moe.top_k=9"}), "no fault") << "a dense model uses no key of [moe]";
  EXPECT_EQ(broken_rule({"schedule.warmup=1000u"}), "no fault");
  EXPECT_EQ(broken_rule({"schedule.warmup=5000t"}), "no fault") << "tokens are compared when the corpus is known";
  EXPECT_EQ(broken_rule({"schedule.kind=warmup_stable_decay", "schedule.decay=900u"}), "no fault");
}

TEST(Rules, NamesMustNotBeEmpty) {
  EXPECT_EQ(broken_rule({"run.folder="}),
            "run.folder is empty; wanted a folder that the run makes, such as folder = \"runs/first\"");
  EXPECT_EQ(broken_rule({"data.file="}), "data.file is empty; wanted a token file written by `moetrain prepare`");
}

TEST(Rules, HeadsDivideTheWidthIntoEvenParts) {
  const std::string because = ", because rotary positions turn pairs; nearest legal width: ";
  EXPECT_EQ(broken_rule({"model.width=190"}),
            "model.width (190) must be an even multiple of model.heads (6)" + because + "180 or 192");
  EXPECT_EQ(broken_rule({"model.width=186"}),
            "model.width (186) must be an even multiple of model.heads (6)" + because + "180 or 192");
  EXPECT_EQ(broken_rule({"model.width=6"}),
            "model.width (6) must be an even multiple of model.heads (6)" + because + "12");
}

TEST(Rules, KeyValueHeadsDivideHeads) {
  EXPECT_EQ(broken_rule({"model.kv_heads=4"}),
            "model.kv_heads (4) must divide model.heads (6); nearest legal kv_heads: 3 or 6");
  EXPECT_EQ(broken_rule({"model.kv_heads=12"}),
            "model.kv_heads (12) must divide model.heads (6); nearest legal kv_heads: 6");
}

TEST(Rules, TopKIsAtMostTheExperts) {
  EXPECT_EQ(broken_rule({"moe.top_k=9"}),
            "moe.top_k (9) must be at most moe.experts (8); nearest legal: top_k = 8 or experts = 9");
}

TEST(Rules, Sum1NeedsTwoChoices) {
  EXPECT_EQ(broken_rule({"moe.top_k=1"}),
            "moe.gate = \"sum1\" with moe.top_k = 1 makes every combine weight 1, from which the router learns "
            "nothing; nearest legal: gate = \"raw\" (as Switch) or top_k = 2");
}

TEST(Rules, MoeLayersAreBlocksOfTheModel) {
  EXPECT_EQ(broken_rule({"moe.layers=0,4"}),
            "moe.layers = \"0,4\": block 4 is out of range; legal: 0 to 3, model.layers is 4");
}

TEST(Rules, MicroBatchesDivideTheGlobalBatch) {
  EXPECT_EQ(broken_rule({"train.micro_batches=3"}),
            "train.global_batch (16) must be a multiple of train.micro_batches (3); nearest legal: global_batch = 15 "
            "or 18, or micro_batches = 2 or 4");
  EXPECT_EQ(broken_rule({"train.micro_batches=32"}),
            "train.global_batch (16) must be a multiple of train.micro_batches (32); nearest legal: global_batch = "
            "32, or micro_batches = 16");
}

TEST(Rules, MomentsMustMove) {
}

TEST(Rules, WarmupAndDecayFitIntoTheLength) {
  EXPECT_EQ(broken_rule({"train.length=50u"}),
            "schedule.warmup (\"100u\") is longer than train.length (\"50u\"); nearest legal: warmup = \"50u\" or "
            "length = \"100u\"");
  const std::string stable = "schedule.kind=warmup_stable_decay";
  EXPECT_EQ(broken_rule({stable, "schedule.decay=1001u", "schedule.warmup=0t"}),
            "schedule.decay (\"1001u\") is longer than train.length (\"1000u\"); nearest legal: decay = \"1000u\"");
  EXPECT_EQ(broken_rule({stable, "schedule.decay=950u"}),
            "schedule.warmup (\"100u\") and schedule.decay (\"950u\") together are longer than train.length "
            "(\"1000u\"); nearest legal: decay = \"900u\" or length = \"1050u\"");
}

TEST(Rules, DecayBelongsToWarmupStableDecay) {
  EXPECT_EQ(broken_rule({"schedule.decay=3u"}),
            "schedule.decay (\"3u\") needs schedule.kind = \"warmup_stable_decay\", which is \"cosine\"; nearest "
            "legal: decay = \"0u\" or kind = \"warmup_stable_decay\"");
}

}  // namespace
}  // namespace launch
