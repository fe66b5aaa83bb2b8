// Sections [stage.NAME] and train.stages: what is read, written, inherited, and refused before anything begins.
#include <gtest/gtest.h>

#include "launch/recipe/stage_sections.h"
#include "launch/recipe/writer.h"
#include "launch/stages/stage_plan.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

const std::string kThree = R"TOML([run]
folder = "runs/x"
[data]
file = "tokens.h5"
[model]
layers = 2
width = 16
heads = 2
kv_heads = 2
ffn_hidden = 24
[moe]
layers = "none"
[train]
stages = "dense, 2 x (router, rest)"
length = "50u"
frozen = "embedding.*"
[optimizer]
learning_rate = 0.01
[schedule]
warmup = "5u"
[stage.dense]
train.length = "200u"
train.frozen = ""
[stage.router]
surgery.operation = "grow"
surgery.grow.experts = 2
train.frozen = "embedding.*, *.attention.*, *norm*, *.experts.*"
optimizer.learning_rate = 0.001
[stage.rest]
train.frozen = "*.router.*"
moe.losses.load_balance = 0.0
schedule.kind = "warmup_stable_decay"
)TOML";

const std::string kCopy = R"([stage.mixed]
surgery.operation = "copy"
surgery.copy.experts = 4
train.frozen = "*.attention.*"
)";

void expect_begins(const std::string& fault, const std::string& words) {
  EXPECT_EQ(fault.substr(0, words.size()), words) << fault;
}

std::vector<PlannedStage> planned(const std::string& text, const std::vector<std::string>& overrides = {},
                                  int64_t ranks = 1) {
  return plan_stages(parse_recipe(text, "recipe.toml", overrides), {.vocabulary = 64}, ranks);
}
std::string plan_fault(const std::string& text, const std::vector<std::string>& overrides = {}, int64_t ranks = 1) {
  return fault_of([&] { planned(text, overrides, ranks); });
}
/// With a mixture in the middle, and the keys of `more` in the last stage.
std::string three_with(const std::string& more) {
  std::string text = kThree + kCopy;
  const size_t at = text.find("dense, 2 x (router, rest)");
  text.replace(at, 25, "dense, mixed, 2 x (router, rest)");
  return text + "[stage.last]\n" + more;
}

TEST(Stages, AreOverlaysOfTheRun) {
  const Recipe recipe = parse_recipe(kThree, "recipe.toml");
  ASSERT_EQ(recipe.stages.size(), 3u);
  EXPECT_EQ(recipe.train.length.count, 50);
  const Recipe dense = overlaid(recipe, recipe.stages[0]), router = overlaid(recipe, recipe.stages[1]);
  EXPECT_EQ(dense.train.length.count, 200);
  EXPECT_EQ(dense.train.frozen, "");
  EXPECT_EQ(dense.optimizer.learning_rate, 0.01);
  EXPECT_EQ(router.train.length.count, 50);
  EXPECT_EQ(router.optimizer.learning_rate, 0.001);
  EXPECT_TRUE(dense.stages.empty() && dense.train.stages.empty()) << "a recipe of its own";
  EXPECT_EQ(surgery_of(recipe.stages[1], *recipe.registry).operation, "grow");
  EXPECT_FALSE(surgery_of(recipe.stages[0], *recipe.registry).any());
}

TEST(Stages, AreWrittenAsTheyAreSaidWithTheTablesOfNewChoicesAndReadAgain) {
  const Recipe recipe = parse_recipe(kThree, "recipe.toml", {"stage.rest.train.length=7u"});
  const std::string text = write_recipe(recipe);
  EXPECT_NE(text.find("\n[stage.dense.train]\nlength = \"200u\"\nfrozen = \"\"\n\n[stage.router.train]\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\n[stage.router.surgery]\noperation = \"grow\"\n\n[stage.router.surgery.grow]\nexperts = 2\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\n[stage.rest.schedule.warmup_stable_decay]\ndecay = "), std::string::npos) << text;
  const Recipe again = parse_recipe(text, "resolved.toml", {}, {.any_version = true});
  EXPECT_EQ(write_recipe(again), text);
  EXPECT_EQ(recipe_hash(again), recipe_hash(recipe));
  EXPECT_EQ(overlaid(again, stage_named(again, "rest")).train.length.count, 7);
  EXPECT_NE(recipe_hash(parse_recipe(kThree, "recipe.toml")), recipe_hash(recipe));
  EXPECT_NE(write_recipe(parse_recipe("[stage.empty]\n", "recipe.toml")).find("\n[stage.empty]\n"), std::string::npos);
}

TEST(Stages, ALayerThatHasTheValueOfMoeGoesWithIt) {
  const Recipe recipe = parse_recipe(
      "[moe]\nplacement = \"moe:0; wide:1; own:2\"\n[layer.wide]\nhidden = 300\n[layer.own]\njitter = 0.5\n"
      "[layer.own.losses]\nrouter_z = 0.3\n[stage.a]\nmoe.losses.router_z = 0.7\nmoe.jitter = 0.25\nlayer.wide.jitter "
      "= 0.1\n",
      "recipe.toml");
  const Recipe a = overlaid(recipe, recipe.stages.front());
  EXPECT_EQ(a.moe.named[0].losses.at("router_z").value, 0.7);
  EXPECT_EQ(a.moe.named[1].losses.at("router_z").value, 0.3);
  EXPECT_EQ(a.moe.named[0].jitter, 0.1);
  EXPECT_EQ(a.moe.named[1].jitter, 0.5);
  EXPECT_EQ(a.moe.jitter, 0.25);
}

TEST(Stages, OrderSaysHowOften) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(stage_order(""), Names{""});
  EXPECT_EQ(stage_order("a"), Names{"a"});
  EXPECT_EQ(stage_order(" a,b , 2 x c"), (Names{"a", "b", "c", "c"}));
  EXPECT_EQ(stage_order("2x(a, 2 x (b, c)), d"), (Names{"a", "b", "c", "b", "c", "a", "b", "c", "b", "c", "d"}));
  EXPECT_EQ(stage_order("x, 2 x x"), (Names{"x", "x", "x"}));
  for (const std::string wrong : {",", "a,", "a b", "0 x a", "a x b", "2 x", "2 x (a", "a)", "(", "99999 x a", "a;b",
                                  "200 x (200 x a)", "((((((((((a))))))))))"}) {
    const std::string fault = fault_of([&] { stage_order(wrong); });
    EXPECT_EQ(fault.find("train.stages = \"" + wrong + "\": "), 0u) << fault;
  }
}

TEST(Stages, WhatIsNotUnderstoodIsNamedWithItsPlace) {
  expect_begins(recipe_fault("[stage.a]\nlength = 3\n"), "recipe.toml:2: stage.a.length is integer ");
  expect_begins(recipe_fault("[stage]\na = 3\n"), "recipe.toml:2: stage.a is intege");
  expect_begins(recipe_fault("[stage.a]\ntrain.lenght = \"3u\"\n"),
                "recipe.toml:2: unknown key 'train.lenght'; did you mean 'length'?");
  expect_begins(recipe_fault("[stage.a]\ntrane.length = \"3u\"\n"), "recipe.toml:2: unknown section 'trane'");
  expect_begins(recipe_fault("[stage.a]\ntrain.length = \"0u\"\n"), "recipe.toml:2: train.length = ");
  expect_begins(recipe_fault("[stage.a]\nrun.seed = 3\n"),
                "recipe.toml:2: [stage.a] may not say run.seed, which is the whole run's; lega");
  expect_begins(recipe_fault("[stage.a]\ntrain.stages = \"b\"\n"),
                "recipe.toml:2: [stage.a] may not say train.stages, w");
  expect_begins(recipe_fault("[stage.a]\nsurgery.operation = \"copi\"\n"), "recipe.toml:2: surgery.operation = \"");
  expect_begins(recipe_fault("[stage.a]\nsurgery.operation = \"copy\"\nsurgery.copy.expert = 2\n"),
                "recipe.toml:3: unknown key 'surgery.copy.expert'; 'expert' is a key of: mesh, moe");
  expect_begins(recipe_fault("[stage.a]\nsurgery.copy.experts = 2\n"),
                "recipe.toml:2: surgery.copy.experts is a key of surgery.operation = \"copy\",");
  expect_begins(recipe_fault("[stage.\"a b\"]\n"), "recipe.toml:1: [stage.NAME] with the NAME 'a b'; l");
  expect_begins(recipe_fault("", {"stage.a.train.lenght=5u"}),
                "--set stage.a.train.lenght=5u: unknown key 'train.lenght'; did you mean 'length'?");
  expect_begins(recipe_fault("", {"stage.a.length=5u"}), "--set stage.a.length=5u: wanted --set sta");
}

TEST(Stages, PlanFollowsTheModelThroughItsSurgery) {
  const std::vector<PlannedStage> stages = planned(three_with(""));
  ASSERT_EQ(stages.size(), 6u);
  const auto experts = [&](size_t i) {
    return stages[i].recipe.moe.layers == "none" ? 0 : stages[i].recipe.moe.experts;
  };
  EXPECT_EQ((std::vector<int64_t>{experts(0), experts(1), experts(2), experts(3), experts(4), experts(5)}),
            (std::vector<int64_t>{0, 4, 6, 6, 8, 8}));
  EXPECT_EQ(stages[2].title, "3 of 6, router");
  EXPECT_EQ(stages[3].recipe.moe.losses.at("load_balance").value, 0);
  EXPECT_GT(stages[2].recipe.moe.losses.at("load_balance").value, 0) << "a stage's keys are its own";
  EXPECT_TRUE(stages[1].kept.contains("embedding.weight"));
  EXPECT_FALSE(stages[1].kept.contains("blocks.0.moe.experts.up"));
  EXPECT_TRUE(stages[3].kept.contains("blocks.0.moe.experts.up"));
  EXPECT_EQ(stages[2].trained, (std::set<std::string>{"blocks.0.moe.router.weight", "blocks.1.moe.router.weight"}));
}

TEST(Stages, StateGoesOnWhereAWeightIsTrainedAndLeftAsItIs) {
  const std::vector<PlannedStage> stages = planned(three_with(""));
  StageHistory history;
  for (size_t i = 0; i < stages.size(); ++i) history.add(stages[i].name, 100 * static_cast<int64_t>(i));
  EXPECT_EQ(history.state_begin(stages, "embedding.weight"), 500) << "frozen in stages 3 and 5";
  EXPECT_EQ(history.state_begin(stages, "blocks.0.moe.router.weight"), 400) << "made anew by the last surgery";
  StageHistory two;
  two.add("dense", 0);
  two.add("mixed", 100);
  EXPECT_EQ(two.state_begin(stages, "embedding.weight"), 0);
  EXPECT_EQ(two.state_begin(stages, "blocks.0.moe.experts.up"), 100);
  EXPECT_EQ(two.data_read_before(stages), 100);
  const StageHistory again = StageHistory::from_text(two.to_text(), "file");
  EXPECT_EQ(again.to_text(), "dense 0, mixed 100");
  for (const std::string wrong : {"", "dense", "dense 1", "dense 0, mixed 0", "dense 0,, mixed 3", "dense 0, mixed x",
                                  "dense 0, mixed 99999999999999999999"}) {
    expect_begins(fault_of([&] { StageHistory::from_text(wrong, "file"); }), "file: stages = ");
  }
  expect_begins(fault_of([&] { StageHistory::from_text("dense 0, router 5", "file").check_begins(stages, "file"); }),
                "file: its run had begun the stages dense 0, router 5 (name and updates");
}

TEST(Stages, WhatAnyOfThemIsRefusedForIsSaidOfItBeforeTheFirst) {
  EXPECT_EQ(plan_fault(three_with("")), "no fault");
  const auto last = [&](const std::string& more) {
    return plan_fault(three_with(more), {"train.stages=dense, mixed, last"});
  };
  EXPECT_EQ(last(""), "no fault");
  expect_begins(last("train.frozen = \"*\"\n"),
                "stage 3 of 3, last: train.frozen = \"*\" leaves nothing to train of the m");
  expect_begins(last("train.frozen = \"*.rooter.*\"\n"),
                "stage 3 of 3, last: train.frozen: '*.rooter.*' fits none of the mo");
  expect_begins(last("surgery.operation = \"copy\"\n"),
                "stage 3 of 3, last: the model before stage 3 of 3, last: block 0 has 4 experts already; copy ");
  expect_begins(last("surgery.operation = \"prune\"\nsurgery.prune.by = \"norm\"\nsurgery.prune.kept = 1\n"),
                "stage 3 of 3, last: prune would leave block 0 of the model be");
  expect_begins(last("surgery.operation = \"grow\"\nsurgery.grow.experts = 1\nsurgery.with = \"runs/y\"\n"),
                "stage 3 of 3, last: surgery.with = \"runs/y\": grow has");
  expect_begins(last("moe.experts = 5\n"),
                "stage 3 of 3, last: what it says of [moe] or [model] gives the weights 'bloc");
  EXPECT_EQ(last("moe.top_k = 1\nmoe.gate = \"raw\"\n"), "no fault") << "leaves all weights as they are";
  expect_begins(last("moe.top_k = 5\n"), "stage 3 of 3, last: moe.top_k (5) must be a");
  expect_begins(last("mesh.expert = 3\n"), "stage 3 of 3, last:");
  expect_begins(plan_fault(three_with(""), {"train.stages="}), "there are sections [stage.dense] and ");
  expect_begins(plan_fault(three_with(""), {"train.stages=dense, rooter"}),
                "train.stages names 'rooter', and there is no section [stage.roo");
  expect_begins(plan_fault(three_with(""), {"train.stages=mixed"}),
                "stage 1 of 1, mixed: surgery on weights that are still as dr");
  expect_begins(plan_fault(three_with(""), {"evaluate.every=5u", "evaluate.patience=3"}),
                "evaluate.patience = 3 with train.stages, who");
}

TEST(Stages, OneAloneIsARecipeOfItsOwn) {
  const Recipe run = parse_recipe(three_with(""), "recipe.toml");
  EXPECT_EQ(stage_alone(run, "rest", 64, 1).moe.experts, 6) << "its first turn";
  expect_begins(fault_of([&] { stage_alone(run, "", 64, 1); }), "the recipe has train.stages = \"den");
  expect_begins(fault_of([&] { stage_alone(run, "rooter", 64, 1); }), "--stage rooter:");
  EXPECT_EQ(stage_alone(parse_recipe("", "recipe.toml"), "", 0, 1).model.layers, Recipe().model.layers);
}

}  // namespace
}  // namespace launch
