#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "parallel/base/enum.h"
#include "parallel/base/fault.h"
#include "parallel/base/field.h"
#include "parallel/base/name_table.h"
#include "parallel/base/nearest.h"

namespace parallel {
namespace {

TEST(NearestName, OffersTheSmallestEditDistance) {
  const std::vector<std::string> known{"learning_rate", "layers", "warmup", "width"};
  EXPECT_EQ(nearest_name("learning_rat", known), "learning_rate");    // deletion
  EXPECT_EQ(nearest_name("learningg_rate", known), "learning_rate");  // insertion
  EXPECT_EQ(nearest_name("wadth", known), "width");                   // substitution
  EXPECT_EQ(nearest_name("warmup", known), "warmup");
  EXPECT_EQ(nearest_name("layer", known), "layers");
}

TEST(NearestName, OffersNothingFartherThanHalfOfTheWord) {
  EXPECT_EQ(nearest_name("abcd", {"abxy"}), "abxy");  // distance 2 of 4
  EXPECT_EQ(nearest_name("abcd", {"axyz"}), "");
  EXPECT_EQ(nearest_name("abcd", {"abcdefg"}), "");
  EXPECT_EQ(nearest_name("x", {"y"}), "");
  EXPECT_EQ(nearest_name("", {"y"}), "");
  EXPECT_EQ(nearest_name("abcd", {}), "");
}

TEST(NearestName, TiesGoToTheFirst) { EXPECT_EQ(nearest_name("cat", {"bat", "rat"}), "bat"); }

TEST(ListNames, JoinsWithCommas) {
  EXPECT_EQ(list_names({}), "");
  EXPECT_EQ(list_names({"a"}), "a");
  EXPECT_EQ(list_names({"a", "b", "c"}), "a, b, c");
}

std::string table_fault(const NameTable<int>& table, const std::string& name) {
  try {
    table.at(name);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no fault";
}

TEST(NameTable, FindsItsRowsAndThoseAdded) {
  NameTable<int> table("router", {{"top_k", 1}});
  EXPECT_EQ(table.at("top_k"), 1);
  table.add("mine", 2);
  EXPECT_EQ(table.at("mine"), 2);
  EXPECT_EQ(table.names(), (std::vector<std::string>{"top_k", "mine"}));
}

TEST(NameTable, UnknownNameIsTheUsersFaultAndListsTheKnown) {
  const NameTable<int> table("router", {{"top_k", 1}, {"switch", 2}});
  EXPECT_EQ(table_fault(table, "topk"), "unknown router 'topk'; known: top_k, switch");
}

TEST(NameTable, SecondRowOfANameIsRefusedAndLeavesTheFirst) {
  NameTable<int> table("router", {{"top_k", 1}});
  EXPECT_THROW(table.add("top_k", 2), UserError);
  EXPECT_EQ(table.at("top_k"), 1);
}

TEST(NameTable, CopiesAreIndependentValues) {
  const NameTable<int> builtin("router", {{"top_k", 1}});
  NameTable<int> mine = builtin;
  mine.add("mine", 2);
  EXPECT_EQ(builtin.names().size(), 1u);
}

enum class Fruit { kApple, kPear, kFig };
constexpr std::array<const char*, 3> names_of(Fruit) { return {"apple", "pear", "fig"}; }

TEST(Enum, IsItsEnumeratorAndHasAName) {
  const Enum<Fruit> unsaid;
  EXPECT_EQ(unsaid.name(), std::string("apple"));
  Enum<Fruit> fruit = Fruit::kFig;
  EXPECT_TRUE(fruit == Fruit::kFig && fruit != unsaid);
  fruit = "pear";
  EXPECT_EQ(Fruit(fruit), Fruit::kPear);
  EXPECT_EQ(concat("a ", fruit), "a pear");
  EXPECT_EQ(fruit.names(), (std::vector<std::string>{"apple", "pear", "fig"}));
}

TEST(Enum, AnUnknownNameIsRefusedAndLeavesTheValue) {
  Enum<Fruit> fruit = Fruit::kFig;
  try {
    fruit.set("plum");
    FAIL() << "plum is none";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "unknown name 'plum'; known: apple, pear, fig");
  }
  EXPECT_EQ(fruit, Fruit::kFig);
}

TEST(Legal, BoundsHoldAtTheirEdges) {
  EXPECT_TRUE(at_least(1).contains(1));
  EXPECT_FALSE(at_least(1).contains(0.999));
  EXPECT_FALSE(above(0).contains(0));
  EXPECT_TRUE(above(0).contains(1e-300));
  EXPECT_TRUE(between(0, 1).contains(0));
  EXPECT_TRUE(between(0, 1).contains(1));
  EXPECT_FALSE(between(0, 1).contains(1.0001));
  EXPECT_TRUE(half_open(0, 1).contains(0));
  EXPECT_FALSE(half_open(0, 1).contains(1));
  EXPECT_FALSE(between(0, 1).contains(std::nan("")));
  EXPECT_FALSE(anything().contains(std::nan("")));
  EXPECT_TRUE(anything().contains(-1e300));
}

TEST(Fault, UsersAndLibrarysAreToldApart) {
  EXPECT_THROW(user_error("moe.experts (", 63, ")"), UserError);
  EXPECT_THROW(check_internal(false, "rows ", 3), InternalError);
  EXPECT_NO_THROW(check_internal(true, "rows ", 3));
  static_assert(!std::is_base_of_v<UserError, InternalError> && !std::is_base_of_v<InternalError, UserError>);
}

}  // namespace
}  // namespace parallel
