// Broken recipes of every kind end in a UserError or in a recipe, and in nothing else.
#include <gtest/gtest.h>

#include "launch/recipe/writer.h"
#include "parallel/base/random.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

using parallel::RandomStream;

constexpr int64_t kRounds = 3000;

/// Any other exception leaves the test by itself; a message must begin with the recipe's name.
void expect_recipe_or_fault(const std::string& text) {
  const std::string fault = recipe_fault(text);
  EXPECT_TRUE(fault == "no fault" || fault.starts_with("recipe.toml:")) << fault << "\nof\n" << text;
}

class Mutator {
 public:
  explicit Mutator(int64_t round) : stream_(17, "recipe fuzz", 0, round) {}

  int64_t below(size_t bound) { return stream_.below(draw_++, static_cast<int64_t>(bound)); }

  void mutate(std::string& text) {
    static const std::vector<std::string> kTokens = {"[",
                                                     "]",
                                                     "[[",
                                                     "{",
                                                     "}",
                                                     "\"",
                                                     "'''",
                                                     "\"\"\"",
                                                     "=",
                                                     ".",
                                                     "\n",
                                                     "#",
                                                     "1e400",
                                                     "-0",
                                                     "0x1F",
                                                     "nan",
                                                     "true",
                                                     "\\u",
                                                     ",",
                                                     "\xFF",
                                                     "moe",
                                                     "\0",
                                                     "1979-05-27T07:32:00Z",
                                                     "[moe]\n",
                                                     "\r",
                                                     "\xE2\x82"};
    const auto at = static_cast<size_t>(below(text.size() + 1));
    switch (below(4)) {
      case 0:
        text.insert(at, kTokens[static_cast<size_t>(below(kTokens.size()))]);
        break;
      case 1:
        text.erase(at, static_cast<size_t>(below(9)));
        break;
      case 2:
        text.insert(at, 1, static_cast<char>(below(256)));
        break;
      default:
        text.insert(at, text.substr(static_cast<size_t>(below(text.size() + 1)), static_cast<size_t>(below(40))));
    }
  }

 private:
  RandomStream stream_;
  int64_t draw_ = 0;
};

TEST(ReaderFuzz, EveryTruncation) {
  const std::string whole = write_recipe(unusual_recipe());
  for (size_t size = 0; size < whole.size(); ++size) expect_recipe_or_fault(whole.substr(0, size));
}

TEST(ReaderFuzz, RandomMutations) {
  for (const std::string& whole : {write_recipe(Recipe{}), write_recipe(unusual_recipe())}) {
    for (int64_t round = 0; round < kRounds; ++round) {
      Mutator mutator(round);
      std::string text = whole;
      for (int64_t mutations = 1 + mutator.below(6); mutations > 0; --mutations) mutator.mutate(text);
      expect_recipe_or_fault(text);
    }
  }
}

TEST(ReaderFuzz, RandomBytes) {
  for (int64_t round = 0; round < kRounds; ++round) {
    Mutator mutator(round);
    std::string text;
    for (int64_t size = mutator.below(60); size > 0; --size) text += static_cast<char>(mutator.below(256));
    expect_recipe_or_fault(text);
  }
}

TEST(ReaderFuzz, RandomOverrides) {
  for (int64_t round = 0; round < kRounds; ++round) {
    Mutator mutator(round);
    std::string text = round % 2 == 0 ? "moe.top_k=4" : "run.folder=\"runs/x\"";
    for (int64_t mutations = 1 + mutator.below(3); mutations > 0; --mutations) mutator.mutate(text);
    const std::string fault = recipe_fault("", {text});
    EXPECT_TRUE(fault == "no fault" || fault.starts_with("--set ")) << fault << "\nof\n" << text;
  }
}

TEST(ReaderFuzz, WhatIsAcceptedCanBeWrittenAndReadAgain) {
  int64_t accepted = 0;
  for (int64_t round = 0; round < kRounds; ++round) {
    Mutator mutator(round);
    std::string text = write_recipe(Recipe{});
    mutator.mutate(text);
    if (recipe_fault(text) != "no fault") continue;
    ++accepted;
    const Recipe recipe = parse_recipe(text, "recipe.toml");
    EXPECT_EQ(values_of(parse_recipe(write_recipe(recipe), "recipe.toml")), values_of(recipe)) << text;
  }
  EXPECT_GT(accepted, 50);
}

}  // namespace
}  // namespace launch
