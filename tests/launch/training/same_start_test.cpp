#include "launch/ranks/same_start.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "tests/support/world.h"

namespace {

using launch::StartFact;

TEST(SameStart, ADifferenceNamesRanksAndValues) {
  const std::vector<StartFact> four{{"moe.experts", "4"}, {"run.seed", "1"}},
      eight{{"moe.experts", "8"}, {"run.seed", "1"}};
  EXPECT_EQ(launch::describe_differences({four, four, eight, four}), "moe.experts: ranks 0-1, 3 have 4, rank 2 has 8");
  EXPECT_EQ(launch::describe_differences({four, four}), "");
}

TEST(SameStart, EveryKeyOfTheRecipeIsThere) {
  launch::Recipe recipe;
  recipe.run.seed = 77;
  bool found = false;
  for (const StartFact& fact : launch::facts_of(recipe))
    found = found || (fact.name == "run.seed" && fact.value == "77");
  EXPECT_TRUE(found);
}

TEST(SameStart, OneRankSaysItAndAllEnd) {
  const auto world = test_world();
  EXPECT_NO_THROW(launch::require_same(*world, {{"a", "same"}}));
  if (world->size() == 1) return;
  const std::string own = world->rank() == 0 ? "x" : "y";
  if (world->rank() == 0) {
    EXPECT_THROW(launch::require_same(*world, {{"a", own}}), parallel::UserError);
  } else {
    EXPECT_THROW(launch::require_same(*world, {{"a", own}}), parallel::ReportedElsewhere);
  }
}

}  // namespace
