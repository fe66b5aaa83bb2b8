#include "moetrain/moe/expert_blocks.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// "0101": one digit a block.
std::string blocks_text(const std::string& layers, int64_t blocks) {
  std::string text;
  for (const bool with_experts : expert_blocks(layers, blocks)) text += with_experts ? '1' : '0';
  return text;
}

std::string blocks_fault(const std::string& layers, int64_t blocks) {
  try {
    expert_blocks(layers, blocks);
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "no fault";
}

TEST(ExpertBlocks, Words) {
  EXPECT_EQ(blocks_text("all", 5), "11111");
  EXPECT_EQ(blocks_text("none", 5), "00000");
  EXPECT_EQ(blocks_text("even", 5), "10101");
  EXPECT_EQ(blocks_text("odd", 5), "01010");
  EXPECT_EQ(blocks_text("every:1", 5), "11111");
  EXPECT_EQ(blocks_text("every:2", 5), "01010");
  EXPECT_EQ(blocks_text("every:4", 8), "00010001");
}

TEST(ExpertBlocks, Lists) {
  EXPECT_EQ(blocks_text("1,3", 4), "0101");
  EXPECT_EQ(blocks_text(" 3 , 0 ", 4), "1001");
  EXPECT_EQ(blocks_text("0, 2-4", 6), "101110");
  EXPECT_EQ(blocks_text("0", 1), "1");
}

TEST(ExpertBlocks, WhatIsNoBlockIsRefused) {
  const std::string legal =
      "' is no block; legal: \"all\", \"none\", \"odd\", \"even\", \"every:N\" or a list from 0 such as \"1,3\" or "
      "\"0,4-11\"";
  EXPECT_EQ(blocks_fault("al", 4), "moe.layers = \"al\": 'al" + legal);
  EXPECT_EQ(blocks_fault("", 4), "moe.layers = \"\": '" + legal);
  EXPECT_EQ(blocks_fault("1,", 4), "moe.layers = \"1,\": '" + legal);
  EXPECT_EQ(blocks_fault("1 2", 4), "moe.layers = \"1 2\": '1 2" + legal);
  EXPECT_EQ(blocks_fault("-1", 4), "moe.layers = \"-1\": '" + legal);
  EXPECT_EQ(blocks_fault("99999999999999999999", 4),
            "moe.layers = \"99999999999999999999\": '99999999999999999999" + legal);
  EXPECT_EQ(blocks_fault("every:", 4), "moe.layers = \"every:\": '" + legal);
}

TEST(ExpertBlocks, RangeAndRepetitionAreRefused) {
  EXPECT_EQ(blocks_fault("4", 4), "moe.layers = \"4\": block 4 is out of range; legal: 0 to 3, the model has 4 blocks");
  EXPECT_EQ(blocks_fault("0-9223372036854775807", 4),
            "moe.layers = \"0-9223372036854775807\": block 4 is out of range; legal: 0 to 3, the model has 4 blocks");
  EXPECT_EQ(blocks_fault("1,0-2", 4), "moe.layers = \"1,0-2\": block 1 is named twice");
  EXPECT_EQ(blocks_fault("3-1", 4), "moe.layers = \"3-1\": the range 3-1 runs backwards");
  EXPECT_EQ(blocks_fault("every:5", 4), "moe.layers = \"every:5\": N must be 1 to the model's blocks (4)");
  EXPECT_EQ(blocks_fault("odd", 1),
            "moe.layers = \"odd\": this is none of the model's blocks (1); say \"none\" for a model without experts");
}

TEST(ForLayer, PyramidGivesEachBlockItsNumber) {
  const MoeConfig pyramid{.layers = "odd", .experts = 5, .top_k = 1, .experts_by_layer = {4, 8}};
  EXPECT_EQ(for_layer(pyramid, 1, 4).experts, 4);
  const MoeConfig last = for_layer(pyramid, 3, 4);
  EXPECT_EQ(last.experts, 8);
  EXPECT_EQ(last.top_k, 1);
  EXPECT_TRUE(last.experts_by_layer.empty());
  EXPECT_EQ(for_layer({.experts = 5}, 2, 4).experts, 5);
}

TEST(ForLayer, NumbersThatDoNotFitAreRefused) {
  const MoeConfig pyramid{.layers = "odd", .experts_by_layer = {4, 8, 8}};
  try {
    for_layer(pyramid, 1, 4);
    FAIL() << "no fault";
  } catch (const parallel::UserError& error) {
    EXPECT_STREQ(error.what(),
                 "moe.experts_by_layer has 3 numbers, but moe.layers = \"odd\" of 4 blocks is 2 blocks with "
                 "experts; legal: 2 numbers, or none for moe.experts everywhere");
  }
  EXPECT_THROW(for_layer(pyramid, 0, 4), parallel::InternalError);  // a dense block
}

}  // namespace
}  // namespace moetrain
