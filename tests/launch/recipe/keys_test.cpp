#include "launch/recipe/keys.h"

#include <gtest/gtest.h>

#include <sstream>

#include "launch/toml/toml_text.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

std::string one_line(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) line += word + " ";
  return line;
}

TEST(Keys, EveryFieldIsDescribedUnderItsSection) {
  const std::string text = describe_keys(builtin_registry());
  Recipe recipe;
  for (const RecipeField& field : list_fields(recipe)) {
    const size_t begin = text.find("\n[" + field.section + "]\n");
    ASSERT_NE(begin, std::string::npos) << field.section;
    const std::string section = one_line(text.substr(begin, text.find("\n[", begin + 1) - begin));
    const std::string row = field.key + " " + type_name(field) + " " + toml_text(field.value) + " " +
                            legal_text(field) + " " + field.sentence + " ";
    EXPECT_NE(section.find(one_line(row)), std::string::npos) << row << "\nis not in\n" << section;
  }
}

TEST(Keys, ATableOfAChoiceSaysWhoseItIs) {
  const std::string text = describe_keys(builtin_registry());
  EXPECT_NE(text.find("\n[moe.thor]\n  where moe.router = \"thor\"\n  granularity "), std::string::npos) << text;
}

TEST(Keys, FitInOneHundredColumns) {
  std::istringstream lines(describe_keys(builtin_registry()));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST(Keys, ColumnsAreAligned) {
  const std::string text = describe_keys(builtin_registry());
  EXPECT_NE(text.find("\n  key                    type      default         legal\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  top_k                  integer   2               1 to 1024\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n                         experts per token\n"), std::string::npos) << text;
}

TEST(Keys, LegalRangesAreWords) {
  double number = 0;
  const auto text = [&](const parallel::Legal& legal) { return legal_text({{"value", &number, legal, ""}, "test"}); };
  EXPECT_EQ(text(parallel::anything()), "any number");
  EXPECT_EQ(text(parallel::at_least(0)), "at least 0");
  EXPECT_EQ(text(parallel::above(0.5)), "above 0.5");
  EXPECT_EQ(text(parallel::between(1, 1 << 24)), "1 to 16777216");
  EXPECT_EQ(text(parallel::half_open(0, 1)), "0 to below 1");
  EXPECT_EQ(text({.high = 3, .names = {}}), "at most 3");
}

}  // namespace
}  // namespace launch
