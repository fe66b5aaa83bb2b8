#include <gtest/gtest.h>

#include "launch/recipe/rules.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

TEST(Rules, LengthsInOtherUnitsAreComparedInUpdates) {
  const auto broken = [](const std::vector<std::string>& overrides) {
    std::vector<std::string> keys{"data.file=corpus.h5"};
    keys.insert(keys.end(), overrides.begin(), overrides.end());
    const Recipe recipe = parse_recipe("", "recipe.toml", keys);
    return fault_of([&] { check_lengths(recipe, {.tokens_per_update = 256, .tokens_per_epoch = 2560}); });
  };
  EXPECT_EQ(broken({"train.length=5000t"}),
            "schedule.warmup (\"100u\": 100 updates of 256 tokens) is longer than train.length (\"5000t\": 20 updates "
            "of 256 tokens); nearest legal: warmup = \"20u\" or length = \"100u\"");
  EXPECT_EQ(broken({"train.length=5000t", "schedule.warmup=20u"}), "no fault");
  EXPECT_TRUE(
      broken({"train.length=100u", "schedule.warmup=11e"}).starts_with("schedule.warmup (\"11e\": 110 updates"));
  const std::vector<std::string> stable{"schedule.kind=warmup_stable_decay", "train.length=2e", "schedule.warmup=5u"};
  const auto with = [&](const std::string& decay) {
    std::vector<std::string> keys = stable;
    keys.push_back(decay);
    return broken(keys);
  };
  EXPECT_EQ(with("schedule.warmup_stable_decay.decay=15u"), "no fault");
  EXPECT_TRUE(
      with("schedule.warmup_stable_decay.decay=16u").ends_with("nearest legal: decay = \"15u\" or length = \"21u\""));
  EXPECT_TRUE(
      with("schedule.warmup_stable_decay.decay=21u").ends_with("nearest legal: decay = \"20u\" or length = \"21u\""));
  // In one unit they are compared in that unit, where rounding to updates makes none too long.
  EXPECT_EQ(broken({"schedule.kind=warmup_stable_decay", "train.length=600t", "schedule.warmup=300t",
                    "schedule.warmup_stable_decay.decay=300t"}),
            "no fault");
}

}  // namespace
}  // namespace launch
