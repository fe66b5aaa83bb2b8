#include "launch/recipe/writer.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "launch/toml/toml_text.h"
#include "parallel/base/random.h"
#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

Recipe reread(const Recipe& recipe) { return parse_recipe(write_recipe(recipe), "resolved.toml"); }

TEST(Writer, DefaultRecipeRoundTrips) { EXPECT_EQ(values_of(reread(Recipe{})), values_of(Recipe{})); }

TEST(Writer, RecipeWithoutAnyDefaultRoundTrips) {
  const Recipe unusual = unusual_recipe();
  const std::vector<FieldValue> values = values_of(unusual), defaults = values_of(Recipe{});
  Recipe named;
  const std::vector<RecipeField> fields = list_fields(named);
  for (size_t i = 0; i < values.size(); ++i) {
    const bool has_others = fields[i].legal.names.size() != 1;
    EXPECT_EQ(values[i] != defaults[i], has_others) << fields[i].name();
  }
  EXPECT_EQ(write_recipe(reread(unusual)), write_recipe(unusual));
  for (const std::string& router : unusual.registry->routers.names()) {
    const Recipe chosen = with_router(unusual, router);
    EXPECT_EQ(taken_values_of(reread(chosen)), taken_values_of(chosen));
    EXPECT_EQ(write_recipe(reread(chosen)), write_recipe(chosen));
  }
}

TEST(Writer, ChoicesThatAreNotTakenAreNotWritten) {
  const std::string defaults = write_recipe(Recipe{});
  EXPECT_NE(defaults.find("\n[moe.load_balance]\n"), std::string::npos) << defaults;
  EXPECT_EQ(defaults.find("[moe.thor]"), std::string::npos) << defaults;
  const std::string thor = write_recipe(with_router(Recipe{}, "thor"));
  EXPECT_NE(thor.find("\n[moe.thor]\ngranularity = \"slices\"\n"), std::string::npos) << thor;
  EXPECT_EQ(thor.find("[moe.soft]"), std::string::npos) << thor;
}

TEST(Writer, EveryKeyOfEverySectionIsWritten) {
  Recipe recipe;
  const std::string text = write_recipe(recipe);
  EXPECT_EQ(text.substr(0, 36), "[run]\nfolder = \"runs/run\"\nseed = 1\nd");
  for (const RecipeField& field : list_fields(recipe)) {
    if (!field.taken()) continue;
    const size_t section = text.find("[" + field.section + "]\n");
    ASSERT_NE(section, std::string::npos) << field.section;
    EXPECT_LT(text.find("\n" + field.key + " = ", section), text.find("\n[", section)) << field.name();
  }
}

TEST(Writer, DoublesRoundTripBitForBit) {
  const parallel::RandomStream stream(3, "doubles");
  for (int64_t i = 0; i < 20'000; ++i) {
    const double value = std::bit_cast<double>(stream.bits(i) & 0x7FFF'FFFF'FFFF'FFFF);  // not negative
    if (!std::isfinite(value)) continue;
    Recipe recipe;
    recipe.optimizer.weight_decay = value;
    double copy = value, back = 0;
    set_field({{"value", &back, {}, ""}, "test"}, toml_text(&copy), "here");
    ASSERT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(value)) << toml_text(&copy);
  }
}

TEST(Writer, DoublesAreShortAndStayFloats) {
  const auto text = [](double value) { return toml_text(&value); };
  EXPECT_EQ(text(0.1), "0.1");
  EXPECT_EQ(text(2), "2.0");
  EXPECT_EQ(text(-0.0), "-0.0");
  EXPECT_EQ(text(1e-8), "1e-08");
  EXPECT_EQ(text(1e22), "1e+22");
  EXPECT_EQ(text(5e-324), "5e-324");
}

TEST(Writer, TextIsEscaped) {
  EXPECT_EQ(quoted_text("a\"b\\c\td\ne"), "\"a\\\"b\\\\c\\td\\ne\"");
  EXPECT_EQ(quoted_text(std::string_view("\x01\x1F\x7F\0", 4)), "\"\\u0001\\u001F\\u007F\\u0000\"");
  EXPECT_EQ(quoted_text("ä€😀"), "\"ä€😀\"");
  for (int code = 0; code < 128; ++code) {
    Recipe recipe;
    recipe.run.folder = {'x', static_cast<char>(code), 'y'};
    EXPECT_EQ(reread(recipe).run.folder, recipe.run.folder) << code;
  }
}

TEST(RecipeHash, ChangesWithEveryKeyButTheFolder) {
  const Recipe thor = with_router(Recipe{}, "thor");
  const uint64_t before = recipe_hash(thor);
  EXPECT_EQ(recipe_hash(Recipe(thor)), before);
  Recipe counted = thor;
  for (size_t i = 0; i < list_fields(counted).size(); ++i) {
    Recipe recipe = thor;
    const RecipeField field = list_fields(recipe)[i];
    std::visit(MakeUnusual{field}, field.value);
    const bool ignored = field.name() == "run.folder" || !field.taken() || field.legal.names.size() == 1;
    EXPECT_EQ(recipe_hash(recipe) == before, ignored) << field.name();
  }
}

TEST(RecipeHash, IsPrintedAsSixteenDigits) {
  EXPECT_EQ(hash_text(0), "0000000000000000");
  EXPECT_EQ(hash_text(0x0123456789abcdef), "0123456789abcdef");
}

}  // namespace
}  // namespace launch
