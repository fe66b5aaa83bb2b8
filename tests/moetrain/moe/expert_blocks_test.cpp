#include "moetrain/moe/expert_blocks.h"

#include <gtest/gtest.h>

#include "parallel/base/fault.h"

namespace moetrain {
namespace {

/// "0101": one digit a block.
std::string blocks_text(const std::string& layers, int64_t blocks) {
  std::string text;
  for (const bool with_experts : expert_blocks({.layers = layers}, blocks)) text += with_experts ? '1' : '0';
  return text;
}

std::string blocks_fault(const std::string& layers, int64_t blocks) {
  try {
    expert_blocks({.layers = layers}, blocks);
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

TEST(LayerConfigs, PyramidGivesEachBlockItsNumber) {
  const MoeConfig pyramid{.layers = "odd", .experts = 5, .top_k = 1, .experts_by_layer = {4, 8}};
  const auto layers = layer_configs(pyramid, 4);
  EXPECT_FALSE(layers.at(0) || layers.at(2)) << "dense blocks";
  EXPECT_EQ(layers.at(1)->experts, 4);
  EXPECT_EQ(layers.at(3)->experts, 8);
  EXPECT_EQ(layers.at(3)->top_k, 1);
  EXPECT_TRUE(layers.at(3)->experts_by_layer.empty());
  EXPECT_EQ(layer_configs({.experts = 5}, 4).at(2)->experts, 5);
}

std::string layers_fault(const MoeConfig& config, int64_t blocks) {
  try {
    layer_configs(config, blocks);
  } catch (const parallel::UserError& error) {
    return error.what();
  }
  return "no fault";
}

TEST(LayerConfigs, NumbersThatDoNotFitAreRefused) {
  EXPECT_EQ(layers_fault({.layers = "odd", .experts_by_layer = {4, 8, 8}}, 4),
            "moe.experts_by_layer has 3 numbers, but moe.layers = \"odd\" of 4 blocks is 2 blocks with "
            "experts; legal: 2 numbers, or none for moe.experts everywhere");
}

/// Layers "wide" and "narrow" beside [moe].
MoeConfig several(const char* placement) {
  MoeConfig config{.placement = placement, .hidden = 10};
  for (const auto& [name, hidden] : {std::pair{"wide", 30}, std::pair{"narrow", 3}}) {
    MoeConfig& layer = config.named.emplace_back();
    layer.name = name, layer.hidden = hidden;
  }
  return config;
}

TEST(Placement, SaysWhichBlockHoldsWhat) {
  const auto layers = layer_configs(several(" narrow : every:4;moe:0,1; wide:2"), 5);
  std::string found;
  for (const auto& layer : layers) found += layer ? std::to_string(layer->hidden) + layer->name + " " : "dense ";
  EXPECT_EQ(found, "10 10 30wide 3narrow dense ");
  EXPECT_TRUE(layers.at(1)->named.empty() && layers.at(1)->placement.empty()) << "of one layer nothing else is said";
  EXPECT_EQ(expert_blocks(several("narrow:0; wide:2"), 3), std::vector<bool>({true, false, true}));
}

TEST(Placement, ABlockHasSeveralPlaces) {
  MoeConfig config = several("narrow:0,3; wide.attention:0-2; narrow.attention:3");
  std::string found;
  for (const Slot slot : {Slot::kFeedForward, Slot::kAttention}) {
    config.named[1].experts_by_layer = slot == Slot::kFeedForward ? std::vector<int64_t>{2, 4} : std::vector<int64_t>{};
    for (const auto& layer : layer_configs(config, 4, slot)) {
      found += layer ? layer->name + std::to_string(layer->experts) + " " : "dense ";
      EXPECT_TRUE(!layer || layer->slot == slot);
    }
  }
  EXPECT_EQ(found, "narrow2 dense dense narrow4 wide8 wide8 wide8 narrow8 ");
  EXPECT_EQ(all_layer_configs(several("narrow:0; wide.attention:0,1"), 3).size(), 3u);
  EXPECT_EQ(all_layer_configs({.layers = "odd"}, 4).size(), 2u);
}

TEST(Placement, EachKindHasItsPyramid) {
  MoeConfig config = several("narrow:0,3; wide:1-2");
  config.named[0].experts_by_layer = {2, 4};
  const auto layers = layer_configs(config, 4);
  EXPECT_EQ(layers.at(1)->experts, 2);
  EXPECT_EQ(layers.at(2)->experts, 4);
  EXPECT_EQ(layers.at(3)->experts, 8);
  config.named[0].experts_by_layer = {2};
  EXPECT_EQ(layers_fault(config, 4),
            "layer.wide.experts_by_layer has 1 numbers, but its part of moe.placement = \"narrow:0,3; wide:1-2\" is 2 "
            "blocks with experts; legal: 2 numbers, or none for layer.wide.experts everywhere");
}

TEST(Placement, WhatIsNoneIsRefused) {
  const auto refused = [](const char* placement, const std::string& reason) {
    EXPECT_EQ(layers_fault(several(placement), 4), std::string("moe.placement = \"") + placement + "\": " + reason);
  };
  refused("wide:0; narow:1", "there is no section [layer.narow]; did you mean 'narrow'?");
  refused("qq:0", "there is no section [layer.qq]; known: moe, wide, narrow");
  refused("wide:0-2; narrow:even", "block 0 is given to 'wide' and to 'narrow'");
  refused("wide:0; narrow:1; wide:2", "'wide' stands there twice");
  for (const char* none : {"wide:0; narrow", "wide:0; narrow:1;"}) {
    EXPECT_NE(
        layers_fault(several(none), 4).find("gives nothing its blocks; legal: NAME:BLOCKS with semicolons between"),
        std::string::npos)
        << none;
  }
  EXPECT_EQ(layers_fault(several("wide:0; narrow:4"), 4),
            "moe.placement: narrow = \"4\": block 4 is out of range; legal: 0 to 3, the model has 4 blocks");
}

TEST(Placement, ALayerThatIsNowhereIsRefused) {
  const std::string legal = " is in no block; legal: a moe.placement that says in which, such as ";
  const std::string narrow = "[layer.narrow]" + legal + "\"narrow:0\", or without this section";
  EXPECT_EQ(layers_fault(several("wide:0"), 4), narrow);
  EXPECT_EQ(layers_fault(several("wide:0; narrow:none"), 4), narrow);
  EXPECT_EQ(layers_fault(several(""), 4), "[layer.wide]" + legal + "\"wide:0\", or without this section");
  MoeConfig both = several("wide:0; narrow:1");
  both.layers = "odd";
  EXPECT_EQ(
      layers_fault(both, 4),
      "moe.layers = \"odd\" with moe.placement = \"wide:0; narrow:1\": both say which blocks hold experts; legal: "
      "one of them");
  both.layers = "all", both.named[0].name = "moe", both.placement = "moe:0; narrow:1";
  EXPECT_EQ(layers_fault(both, 4), "[layer.moe]: in a placement moe is [moe] itself; legal: another name");
}

}  // namespace
}  // namespace moetrain
