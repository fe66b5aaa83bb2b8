#include "parallel/base/name_patterns.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

template <class Action>
std::string refusal_of(Action&& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(NamePatterns, FitWithTextInPlaceOfStars) {
  EXPECT_TRUE(fits("*", ""));
  EXPECT_TRUE(fits("*.router.*", "blocks.1.moe.router.weight"));
  EXPECT_TRUE(fits("blocks.*.query", "blocks.0.attention.query"));
  EXPECT_TRUE(fits("*a*b*", "xxaxbxbx"));
  EXPECT_FALSE(fits("*.router.*", "router.weight"));
  EXPECT_FALSE(fits("blocks.1.*", "blocks.10.norm"));
  EXPECT_FALSE(fits("query", "blocks.0.attention.query"));
  EXPECT_EQ(misfit("*.rooter.*", "blocks.1.moe.router.weight"), 1u);
  EXPECT_EQ(misfit("abc", ""), 3u);
}

TEST(NamePatterns, AreAListWithOrWithoutNumbers) {
  EXPECT_TRUE(name_patterns("k", " ", PatternValues::kNone).empty());
  const auto plain = name_patterns("k", "embedding.*, *.router.*", PatternValues::kNone);
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_EQ(plain[1].pattern, "*.router.*");
  const auto numbered = name_patterns("k", "a.*: 0.5,*:2e-1", PatternValues::kNumbers);
  ASSERT_EQ(numbered.size(), 2u);
  EXPECT_EQ(numbered[0].value, 0.5);
  EXPECT_EQ(first_fit(numbered, "a.b"), &numbered[0]);
  EXPECT_EQ(first_fit(numbered, "b")->value, 0.2);
  for (const char* wrong : {"a,,b", "a: 1", ","}) {
    EXPECT_NE(refusal_of([&] { name_patterns("k", wrong, PatternValues::kNone); }), "no error") << wrong;
  }
  for (const char* wrong : {"a", "a:", "a: x", "a: -1", "a: inf", ": 1"}) {
    EXPECT_NE(refusal_of([&] { name_patterns("k", wrong, PatternValues::kNumbers); }), "no error") << wrong;
  }
}

TEST(NamePatterns, ThatFitNothingAreRefusedWithTheNearestNames) {
  const std::vector<std::string> names{"embedding.weight", "blocks.0.moe.router.weight", "blocks.1.moe.router.weight",
                                       "blocks.0.norm.weight", "head.weight"};
  const auto check = [&](const char* text) {
    return refusal_of([&] {
      check_each_fits("train.frozen", name_patterns("train.frozen", text, PatternValues::kNone), names, "parameters");
    });
  };
  EXPECT_EQ(check("*.router.*, head.*"), "no error");
  EXPECT_EQ(check("*, *.rooter.*"),
            "train.frozen: '*.rooter.*' fits none of the model's 5 parameters; nearest: blocks.*.moe.router.weight, "
            "blocks.*.norm.weight, embedding.weight");
}

}  // namespace
}  // namespace parallel
