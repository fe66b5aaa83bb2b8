#include "parallel/base/weight.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace parallel {
namespace {

TEST(Weight, HoldsInItsWindow) {
  const Weight weight = parse_weight("0.5 from 100u until 2000u");
  EXPECT_EQ(weight, Weight(0.5, 100, 2000));
  EXPECT_TRUE(weight.is_on());
  EXPECT_EQ(weight.at(99), 0);
  EXPECT_EQ(weight.at(100), 0.5);
  EXPECT_EQ(weight.at(1999), 0.5);
  EXPECT_EQ(weight.at(2000), 0);
  EXPECT_EQ(Weight(0.5).at(1'000'000'000), 0.5);
  EXPECT_FALSE(Weight(0.0, 3, 4).is_on());
}

TEST(Weight, EachPartIsOptional) {
  EXPECT_EQ(parse_weight("1e-3"), Weight(1e-3));
  EXPECT_EQ(parse_weight("0.01 from 5u"), Weight(0.01, 5));
  EXPECT_EQ(parse_weight(" 0.01  until 1e3u "), Weight(0.01, 0, 1000));
  EXPECT_EQ(parse_weight("-1"), Weight(-1));  // a field's bound refuses it
}

TEST(Weight, TextRoundTrips) {
  for (const char* text : {"0", "0.1", "0.01 from 5u", "1e-08 until 7u", "3 from 1u until 2u"}) {
    EXPECT_EQ(to_string(parse_weight(text)), text);
  }
}

TEST(Weight, WhatIsNoWeightIsRefused) {
  for (const char* text :
       {"", "from 5u", "0.1 from", "0.1 from 5", "0.1 from 5t", "0.1 until 3e", "0.1 until 2u from 1u",
        "0.1 from 2u until 2u", "0.1 until 0u", "0.1 for 3u", "0.1 from 1u until 2u 3", "nan", "inf", "0,1", "0.1u",
        "0.1 from -1u", "0.1 from 1u from 2u"}) {
    EXPECT_THROW(parse_weight(text), UserError) << text;
  }
  try {
    parse_weight("0.1 from 5t");
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "'0.1 from 5t' is not a weight; legal: a number such as 0.01, or \"0.01 from 100u until 2000u\" "
                 "(updates; either part may be left out, and the window must hold an update)");
  }
}

}  // namespace
}  // namespace parallel
