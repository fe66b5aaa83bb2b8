// Attention whose weights are no softmax, and experts in its place: what is refused, and what is offered instead.
#include <gtest/gtest.h>

#include "tests/launch/recipe/recipe_support.h"

namespace launch {
namespace {

TEST(AttentionRules, SticksNeedNoPositionsAndCausalBlocks) {
  const std::string sticks = "attention.weights=stick_breaking", none = "attention.positions=none";
  EXPECT_EQ(broken_rule({sticks, none}), "no fault");
  EXPECT_EQ(broken_rule({none}), "no fault");
  EXPECT_EQ(broken_rule({sticks, none, "attention.window=4"}), "no fault");
  EXPECT_EQ(broken_rule({sticks}),
            "attention.positions = \"rotary\" with attention.weights = \"stick_breaking\", which needs no positions; "
            "legal: positions = \"none\"");
  EXPECT_EQ(broken_rule({sticks, none, "attention.sinks=true"}).substr(0, 22), "attention.sinks = true");
  EXPECT_EQ(broken_rule({sticks, none, "attention.kind=latent", "model.kv_heads=6"}),
            "attention.weights = \"stick_breaking\" with attention.kind = \"latent\"; legal: \"softmax\"");
  EXPECT_EQ(
      broken_rule({sticks, none, "model.kind=classifier"}),
      "attention.weights = \"stick_breaking\", but the blocks \"blocks\" of model.kind = \"classifier\" see whole "
      "sequences, where no key is the latest; legal: attention.weights = \"softmax\"");
}

/// The defaults with [layer.heads] in the place of attentions, and these keys of it.
std::string broken_modules(const std::string& keys, const std::vector<std::string>& overrides = {}) {
  const std::string text =
      "[run]\nfolder = \"runs/x\"\n[data]\nfile = \"tokens.h5\"\n[moe]\nplacement = \"moe:all; heads.attention:all\"\n"
      "[layer.heads]\nexpert = \"heads\"\nhidden = 192\n";
  return fault_of([&] {
    const Recipe recipe = parse_recipe(text + keys, "recipe.toml", overrides);
    check_rules(recipe);
    check_training(recipe);
  });
}

TEST(AttentionRules, ModulesStandWhereTheyCan) {
  const std::string which = "[layer.heads], which block 0 holds: ";
  EXPECT_EQ(broken_modules(""), "no fault");
  EXPECT_EQ(broken_modules("experts = 10\n", {"layer.heads.expert=heads:8,heads(192):2"}), "no fault");
  EXPECT_EQ(broken_modules("", {"layer.heads.expert=feed_forward"}),
            which +
                "moe.expert = \"feed_forward\" in the place of an attention: feed_forward experts stand in another's; "
                "legal there: heads");
  EXPECT_EQ(broken_modules("", {"moe.expert=heads"}),
            "moe.expert = \"heads\" in the place of a feed-forward: heads experts stand in another's; legal there: "
            "feed_forward, gru, clamped_swiglu, or NAME.attention in moe.placement");
  EXPECT_EQ(broken_modules("", {"layer.heads.hidden=100"}),
            "layer.heads.hidden (100) is cut into the 6 heads of model.heads, whose pairs of numbers rotary positions "
            "turn; nearest legal: 96 or 108");
  EXPECT_EQ(broken_modules("", {"layer.heads.expert=heads:4,heads(96):4"}),
            which +
                "moe.expert = \"heads:4,heads(96):4\" with moe.hidden = 192: modules that share keys are of one "
                "width; legal: heads(192)");
  EXPECT_EQ(broken_modules("shared_hidden = 8\n"),
            which + "moe.shared_hidden = 8 in the place of an attention; legal: 0");
  EXPECT_EQ(broken_modules("gating_residual = true\n"),
            which + "moe.gating_residual = true in the place of an attention; legal: false");
  EXPECT_EQ(broken_modules("zero_experts = 1\n"),
            which + "constant, copy, zero or null experts (1) in the place of an attention; legal: none");
  EXPECT_EQ(broken_modules("", {"attention.norm=head"}),
            "attention.norm = \"head\" with layer.heads in the place of an attention; legal: \"none\"");
  EXPECT_EQ(broken_modules("", {"model.attention=odd"}),
            "moe.placement = \"moe:all; heads.attention:all\": block 0 has no attention in whose place experts could "
            "stand, by model.attention = \"odd\"");
  EXPECT_EQ(broken_modules("", {"mesh.tensor=3"}),
            "mesh.tensor = 3 does not divide model.kv_heads = 2, whose keys the modules of layer.heads share; nearest "
            "legal: mesh.tensor = 2");
  EXPECT_EQ(
      broken_modules("", {"moe.placement=moe:all; heads.head:all"}),
      "moe.placement = \"moe:all; heads.head:all\": 'head' is no place in a block; legal: NAME, NAME.feed_forward "
      "or NAME.attention");
  EXPECT_EQ(broken_modules("", {"moe.placement=moe.attention:all; heads.attention:0"}),
            "moe.placement = \"moe.attention:all; heads.attention:0\": block 0 is given to 'moe' and to "
            "'heads.attention'");
}

}  // namespace
}  // namespace launch
