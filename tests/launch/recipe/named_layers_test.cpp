// Sections [layer.NAME]: what they inherit, how they are written and read again, and what they may not say.
#include <gtest/gtest.h>

#include <algorithm>

#include "launch/recipe/writer.h"
#include "moetrain/routers/selections/selections.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

const std::string kMoeAndWide = R"([moe]
placement = "moe:0-1; wide:2-3"
hidden = 100
top_k = 3
[moe.losses]
entropy = 0.5
[layer.wide]
hidden = 300
router = "thor"
top_k = 1
gate = "hard"
[layer.wide.losses]
load_balance = 0
router_z = 0
entropy = 0
[layer.wide.thor]
granularity = "token"
)";

TEST(NamedLayers, SayWhatTheyHaveOtherwiseThanMoe) {
  const Recipe recipe = parse_recipe(kMoeAndWide, "recipe.toml");
  ASSERT_EQ(recipe.moe.named.size(), 1u);
  const moetrain::MoeConfig& wide = recipe.moe.named.front();
  EXPECT_EQ(wide.name, "wide");
  EXPECT_EQ(wide.hidden, 300);
  EXPECT_EQ(recipe.moe.hidden, 100);
  EXPECT_EQ(wide.own<moetrain::ThorConfig>().granularity.name(), std::string("token"));
  EXPECT_EQ(recipe.moe.losses.at("entropy").value, 0.5);
  EXPECT_EQ(wide.losses.at("entropy").value, 0);
  EXPECT_EQ(fault_of([&] { check_rules(recipe); }), "no fault");
}

TEST(NamedLayers, InheritWhateverIsNotSaidAndWhereverItStands) {
  const auto wide = [](const std::string& text, const std::vector<std::string>& overrides = {}) {
    return parse_recipe(text, "recipe.toml", overrides).moe.named.at(0);
  };
  const std::string before = "[layer.wide]\nhidden = 300\n[moe]\nplacement = \"wide:0\"\ntop_k = 3\n";
  EXPECT_EQ(wide(before).top_k, 3);
  EXPECT_EQ(wide(before, {"moe.top_k=4"}).top_k, 4);
  EXPECT_EQ(wide(before, {"layer.wide.top_k=1", "moe.top_k=4"}).top_k, 1);
  EXPECT_EQ(wide(before, {"moe.hidden=7"}).hidden, 300);
  EXPECT_EQ(wide("", {"layer.wide.losses.entropy=0.25", "moe.placement=wide:0"}).losses.at("entropy").value, 0.25);
  const std::string thor = "[moe]\nrouter = \"thor\"\n[moe.thor]\ninference = \"token\"\n";
  EXPECT_EQ(wide(thor + "[layer.wide]\n").own<moetrain::ThorConfig>().inference.name(), std::string("token"));
}

TEST(NamedLayers, AreWrittenWholeAndReadAgain) {
  const Recipe recipe = parse_recipe(kMoeAndWide, "recipe.toml");
  const std::string text = write_recipe(recipe);
  const Recipe again = parse_recipe(text, "resolved.toml", {}, {.any_version = true});
  EXPECT_EQ(write_recipe(again), text);
  EXPECT_EQ(taken_values_of(again), taken_values_of(recipe));
  EXPECT_EQ(recipe_hash(again), recipe_hash(recipe));
  const size_t wide = text.find("\n[layer.wide]\nrouter = \"thor\"\nexperts = 8\ntop_k = 1\n");
  EXPECT_NE(wide, std::string::npos) << text;
  EXPECT_NE(text.find("\n[layer.wide.thor]\ngranularity = \"token\"\n", wide), std::string::npos) << text;
  const Recipe other = parse_recipe(kMoeAndWide, "recipe.toml", {"layer.wide.hidden=301"});
  EXPECT_NE(recipe_hash(other), recipe_hash(recipe));
}

TEST(NamedLayers, WhatAnOlderRunHasWrittenHasNone) {
  const Recipe recipe = parse_recipe("[moe]\nlayers = \"odd\"\n", "run/recipe.toml", {}, {.any_version = true});
  EXPECT_TRUE(recipe.moe.named.empty());
  EXPECT_EQ(recipe.moe.placement, "");
  EXPECT_EQ(recipe.moe.layers, "odd");
}

TEST(NamedLayers, ComeWithAStartUnlessThePlacementIsSaidAnew) {
  const Recipe there = parse_recipe(kMoeAndWide, "start.toml");
  const auto started = [&](const std::string& text) {
    return parse_recipe("[train]\nstart = \"runs/there\"\n" + text, "recipe.toml", {},
                        {.start = [&](const Recipe&) { return there; }});
  };
  EXPECT_EQ(write_recipe(started("")),
            write_recipe(parse_recipe(kMoeAndWide + "[train]\nstart = \"runs/there\"\n", "")));
  EXPECT_EQ(started("[layer.wide]\nroute_scale = 2.5\n").moe.named.at(0).route_scale, 2.5);
  EXPECT_EQ(started("[layer.wide]\nroute_scale = 2.5\n").moe.named.at(0).hidden, 300);
  EXPECT_TRUE(started("[moe]\nplacement = \"moe:0-3\"\n").moe.named.empty());
}

TEST(NamedLayers, WhatIsNotUnderstoodIsNamedWithItsPlace) {
  EXPECT_EQ(recipe_fault("[layer.wide]\nhiden = 3\n"),
            "recipe.toml:2: unknown key 'layer.wide.hiden'; did you mean 'hidden'?");
  EXPECT_EQ(recipe_fault("[layer.wide]\nhidden = -3\n"),
            "recipe.toml:2: layer.wide.hidden = -3 is out of range; legal: 1 to 16777216");
  EXPECT_EQ(recipe_fault("[layer.wide]\nrouter = \"thro\"\n").substr(0, 52),
            "recipe.toml:2: layer.wide.router = \"thro\" is unknown");
  EXPECT_EQ(recipe_fault("[layer.wide.thro]\n"),
            "recipe.toml:1: unknown section 'layer.wide.thro'; did you mean 'layer.wide.thor'?");
  EXPECT_EQ(recipe_fault("[layer.wide.thor]\ngranularity = \"token\"\n"),
            "recipe.toml:2: layer.wide.thor.granularity is a key of layer.wide.router = \"thor\", and the recipe's is "
            "\"top_k\"; legal: without this key, or layer.wide.router = \"thor\"");
  EXPECT_EQ(recipe_fault("[layer.wide]\nplacement = \"wide:0\"\n"),
            "recipe.toml:2: unknown key 'layer.wide.placement'; 'placement' is a key of: moe");
  EXPECT_EQ(recipe_fault("[layer]\nwide = 3\n"),
            "recipe.toml:2: layer.wide is integer 3; wanted a section [layer.wide] with keys such as those of [moe]");
  EXPECT_EQ(recipe_fault("[layer.\"a:b\"]\n"),
            "recipe.toml:1: [layer.NAME] with the NAME 'a:b'; legal: letters, digits, _ and -, for moe.placement names "
            "it");
  EXPECT_EQ(recipe_fault("", {"layer.wide.hiden=3"}),
            "--set layer.wide.hiden=3: unknown key 'layer.wide.hiden'; did you mean 'hidden'?");
}

TEST(NamedLayers, RulesSayWhichLayerBreaksThem) {
  const std::string two = "[moe]\nplacement = \"moe:0-1; wide:2-3\"\n[layer.wide]\n";
  const auto broken = [&](const std::string& keys) {
    const Recipe recipe = parse_recipe("[run]\nfolder = \"runs/x\"\n[data]\nfile = \"tokens.h5\"\n" + two + keys, "");
    return fault_of([&] {
      check_rules(recipe);
      check_training(recipe);
    });
  };
  EXPECT_EQ(broken("hidden = 300\n"), "no fault");
  EXPECT_EQ(
      broken("top_k = 9\n"),
      "[layer.wide], which block 2 holds: moe.top_k (9) must be at most moe.experts (8); nearest legal: top_k = 8 "
      "or experts = 9");
  EXPECT_EQ(broken("top_k = 1\n").substr(0, 67),
            "[layer.wide], which block 2 holds: moe.gate = \"sum1\" with moe.top_k");
  EXPECT_EQ(broken("gating_residual = true\n"), "no fault") << "[moe] has logits";
  const Recipe recipe = parse_recipe(
      "[moe]\nplacement = \"moe:0; wide:1\"\nrouter = \"hash\"\ntop_k = 1\ngate = \"hard\"\n[moe.losses]\nload_balance "
      "= "
      "0\nrouter_z = 0\n[layer.wide]\nrouter = \"top_k\"\ntop_k = 2\ngate = \"sum1\"\ngating_residual = true\n",
      "recipe.toml");
  EXPECT_EQ(
      fault_of([&] { check_rules(recipe); }),
      "[layer.wide], which block 1 holds: moe.gating_residual adds the logits of the layer of experts before, [moe], "
      "whose router = \"hash\" of tokens has none of the kind; nearest legal: gating_residual = false");
}

TEST(NamedLayers, AWrongPlacementIsARecipesFault) {
  EXPECT_EQ(broken_rule({"run.folder=runs/x", "moe.placement=moe:0;wide:1"}),
            "moe.placement = \"moe:0;wide:1\": there is no section [layer.wide]; known: moe");
}

}  // namespace
}  // namespace launch
