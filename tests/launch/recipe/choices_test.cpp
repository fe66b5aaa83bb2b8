// What only one choice knows stands in its own table, and is legal where it is chosen.
#include <gtest/gtest.h>

#include "launch/recipe/reader.h"
#include "launch/recipe/writer.h"
#include "moetrain/routers/selections/selections.h"
#include "optim/schedules/warmup_stable_decay.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

const std::string kThor = "[moe]\nrouter = \"thor\"\n";

TEST(Choices, ATableOfTheChosenOneIsRead) {
  const auto granularity = [](const Recipe& recipe) {
    return std::string(recipe.moe.own<moetrain::ThorConfig>().granularity.name());
  };
  EXPECT_EQ(granularity(parse_recipe(kThor, "recipe.toml")), "slices");
  EXPECT_EQ(granularity(parse_recipe(kThor + "[moe.thor]\ngranularity = \"token\"\n", "recipe.toml")), "token");
  EXPECT_EQ(granularity(parse_recipe("[moe.thor]\ngranularity = \"token\"\n" + kThor, "recipe.toml")), "token");
  EXPECT_EQ(granularity(parse_recipe("moe = {router = \"thor\", thor = {granularity = \"token\"}}", "recipe.toml")),
            "token");
  EXPECT_EQ(granularity(parse_recipe(kThor, "recipe.toml", {"moe.thor.granularity=token"})), "token");
  EXPECT_EQ(granularity(parse_recipe("", "recipe.toml", {"moe.thor.granularity=token", "moe.router=thor"})), "token");
}

TEST(Choices, AKeyOfOneThatIsNotTakenIsAnErrorWithBothWaysOut) {
  EXPECT_EQ(recipe_fault("[moe]\nrouter = \"soft\"\n[moe.thor]\ninference = \"token\"\n"),
            "recipe.toml:4: moe.thor.inference is a key of moe.router = \"thor\", and the recipe's is \"soft\"; legal: "
            "without this key, or moe.router = \"thor\"");
  EXPECT_EQ(recipe_fault("", {"moe.soft.slots=2"}),
            "--set moe.soft.slots=2: moe.soft.slots is a key of moe.router = \"soft\", and the recipe's is \"top_k\"; "
            "legal: without this key, or moe.router = \"soft\"");
  EXPECT_EQ(recipe_fault("[moe.thor]\n"), "no fault") << "a table without keys says nothing";
}

TEST(Choices, NamesAndValuesAreHeldAgainstTheirOwnTable) {
  EXPECT_EQ(recipe_fault(kThor + "[moe.thor]\ngranularty = \"token\"\n"),
            "recipe.toml:4: unknown key 'moe.thor.granularty'; did you mean 'granularity'?");
  EXPECT_EQ(recipe_fault(kThor + "[moe.thor]\ngranularity = \"word\"\n"),
            "recipe.toml:4: moe.thor.granularity = \"word\" is unknown; legal: slices, batch_layer, sentence, token");
  EXPECT_EQ(recipe_fault("[moe.thro]\n"), "recipe.toml:1: unknown section 'moe.thro'; did you mean 'moe.thor'?");
  EXPECT_EQ(recipe_fault("[moe.top_k]\n"), "recipe.toml:1: moe.top_k is a table; wanted an integer such as 2");
  EXPECT_EQ(recipe_fault("[moe]\nslots = 2\n"),
            "recipe.toml:2: moe.slots is now moe.soft.slots, legal where moe.router = \"soft\"");
  EXPECT_EQ(
      recipe_fault("", {"moe.stochastic=token"}),
      "--set moe.stochastic=token: moe.stochastic is now moe.thor.granularity, legal where moe.router = \"thor\"");
}

TEST(Choices, WhatAnOlderVersionHasWrittenIsReadAsItWasMeant) {
  const std::string older = "[moe]\nrouter = \"thor\"\ncosine_width = 0\nslots = 1\nstochastic = \"token\"\n";
  const Recipe recipe = parse_recipe(older, "run/recipe.toml", {}, {.any_version = true});
  EXPECT_EQ(recipe.moe.own<moetrain::ThorConfig>().granularity.name(), std::string("token"));
  Recipe expected;
  expected.moe.router = "thor";
  expected.moe.own<moetrain::ThorConfig>().granularity = "token";
  EXPECT_EQ(write_recipe(recipe), write_recipe(expected));
}

TEST(Choices, AnOlderRecipesDecayIsThatOfItsSchedule) {
  const auto decay = [](const Recipe& recipe) {
    return to_string(recipe.schedule.own<optim::WarmupStableDecayConfig>().decay);
  };
  const std::string stable = "[schedule]\nkind = \"warmup_stable_decay\"\n";
  EXPECT_EQ(decay(parse_recipe(stable + "decay = \"9u\"\n", "run/recipe.toml", {}, {.any_version = true})), "9u");
  EXPECT_EQ(decay(parse_recipe(stable + "[schedule.warmup_stable_decay]\ndecay = \"9u\"\n", "recipe.toml")), "9u");
  EXPECT_EQ(recipe_fault(stable + "decay = \"9u\"\n"),
            "recipe.toml:3: schedule.decay is now schedule.warmup_stable_decay.decay, legal where schedule.kind = "
            "\"warmup_stable_decay\"");
  const std::string cosine = "[schedule]\nkind = \"cosine\"\ndecay = \"0u\"\n";
  EXPECT_EQ(write_recipe(parse_recipe(cosine, "run/recipe.toml", {}, {.any_version = true})), write_recipe(Recipe()));
}

TEST(Choices, WhatBoundsAnExpertIsToldWhereItIsBounded) {
  EXPECT_EQ(recipe_fault("[moe]\ncapacity = \"by_kind\"\n[moe.bound]\nfactor = 1.1\n[moe.by_kind]\ntau = 0.5\n"),
            "no fault");
  EXPECT_EQ(recipe_fault("[moe.bound]\ndrop = \"random\"\n"),
            "recipe.toml:2: moe.bound.drop is a key of moe.capacity = \"factor\" or \"by_kind\", and the recipe's is "
            "\"dropless\"; legal: without this key, or moe.capacity = \"factor\" or \"by_kind\"");
  EXPECT_EQ(recipe_fault("[moe]\ncapacity_factor = 1.1\n"),
            "recipe.toml:2: moe.capacity_factor is now moe.bound.factor, legal where moe.capacity = \"factor\" or "
            "\"by_kind\"");
  const std::string older =
      "[moe]\ncapacity = \"factor\"\ncapacity_factor = 1.5\ncapacity_tau = 0.75\ndrop = \"random\"\n";
  Recipe expected;
  expected.moe.capacity = "factor";
  expected.moe.own<moetrain::BoundConfig>() = {.factor = 1.5, .drop = moetrain::Drop::kRandom};
  EXPECT_EQ(write_recipe(parse_recipe(older, "run/recipe.toml", {}, {.any_version = true})), write_recipe(expected));
}

TEST(Choices, ALossHasItsKeysWhereItHasAWeight) {
  EXPECT_EQ(recipe_fault("[moe.load_balance]\nover = \"sequence\"\n"), "no fault") << "it is on by itself";
  EXPECT_EQ(
      recipe_fault("[moe.losses]\nload_balance = 0\n[moe.load_balance]\nover = \"sequence\"\n"),
      "recipe.toml:4: moe.load_balance.over is a key of moe.losses.load_balance > 0, and the recipe's is 0.0; legal: "
      "without this key, or moe.losses.load_balance > 0");
  EXPECT_EQ(recipe_fault("[moe]\nload_balance = 0.1\n"),
            "recipe.toml:2: moe.load_balance is now moe.losses.load_balance");
  EXPECT_EQ(recipe_fault("[moe.losses]\nloadbalance = 0.1\n"),
            "recipe.toml:2: unknown key 'moe.losses.loadbalance'; did you mean 'load_balance'?");
}

struct DiceConfig {
  int64_t sides = 6;
};

template <class Visitor>
void visit(DiceConfig& config, Visitor& field) {
  field("sides", config.sides, parallel::between(2, 100), "of one die");
}

TEST(Choices, ARouterFromOutsideHasItsTableToo) {
  Registry registry;
  registry.routers.add("dice", {.keys = parallel::own_keys_of<DiceConfig>});
  const auto known = std::make_shared<const Registry>(registry);
  const Recipe recipe = parse_recipe("[moe]\nrouter = \"dice\"\n[moe.dice]\nsides = 20\n", "recipe.toml", {}, {known});
  EXPECT_EQ(recipe.moe.own<DiceConfig>().sides, 20);
  EXPECT_NE(write_recipe(recipe).find("[moe.dice]\nsides = 20\n"), std::string::npos);
  EXPECT_EQ(recipe_fault("[moe.dice]\n").substr(0, 41), "recipe.toml:1: unknown section 'moe.dice'");
}

TEST(Choices, APieceFromOutsideMayNotTakeATableThatIsThere) {
  const auto fault_with = [](auto&& add) {
    Registry registry;
    add(registry);
    return fault_of([&] { parse_recipe("", "recipe.toml", {}, {std::make_shared<const Registry>(registry)}); });
  };
  const parallel::OwnKeyList keys = parallel::own_keys_of<DiceConfig>;
  EXPECT_EQ(fault_with([&](Registry& r) { r.experts.add("thor", {.keys = keys}); }),
            "the keys of moe.expert = \"thor\" would be the table [moe.thor], which is taken by moe.router = \"thor\"; "
            "rename what was added");
  EXPECT_EQ(fault_with([&](Registry& r) { r.routers.add("latent", {.keys = keys}); }),
            "the keys of moe.router = \"latent\" would be the table [moe.latent], which is taken by moe.latent; rename "
            "what was added");
  EXPECT_EQ(fault_with([&](Registry& r) { r.losses.add("losses", {.sentence = "", .keys = keys}); }),
            "the keys of moe.losses.losses > 0 would be the table [moe.losses], which is taken by "
            "moe.losses.load_balance; rename what was added");
  EXPECT_EQ(fault_of([] { Registry().losses.add("entropy", {}); }), "there is a loss named 'entropy' already");
}

}  // namespace
}  // namespace launch
