// Soft MoE against its formula, by plain loops.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "moetrain/moe/moe_layer.h"
#include "moetrain/routers/sequence_parts.h"
#include "moetrain/routers/soft_router.h"
#include "parallel/base/fault.h"
#include "tests/moetrain/moe/dense_moe.h"
#include "tests/support/token_shards.h"

namespace moetrain {
namespace {

constexpr int64_t kSoftTokens = 12, kSoftWidth = 4, kSoftExperts = 3, kSoftSlots = 2;

at::Tensor soft_sequences() { return at::tensor({0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2}, at::kLong); }

BatchScope soft_scope(const std::vector<int64_t>& split) {
  BatchScope scope{.group = *test_world(), .global_tokens = kSoftTokens, .training = true};
  scope.global_sequences = 3;
  scope.sequence_T = shard_of(soft_sequences(), split);
  return scope;
}

std::shared_ptr<MoeLayer> soft_layer() {
  MoeConfig config{.router = "soft",
                   .experts = kSoftExperts,
                   .hidden = 5,
                   .gate = "raw",
                   .losses = {{"load_balance", 0}, {"router_z", 0}}};
  config.own<SoftConfig>().slots = kSoftSlots;
  const MoeLayer::Shape shape{.width = kSoftWidth, .std = 0.8, .output_std = 0.9, .causal = false};
  return std::make_shared<MoeLayer>(ParameterSource(3, at::kDouble), config, shape, MoeTables());
}

/// One sequence [L, D].
at::Tensor soft_by_hand(MoeLayer& layer, const at::Tensor& x_LD) {
  const auto weight = [&](const char* name) { return layer.named_parameters()[name].detach(); };
  at::Tensor out_LD = at::zeros_like(x_LD);
  const at::Tensor logits_LP = at::mm(x_LD, weight("router.weight").t()), power_LP = at::exp(logits_LP);
  for (int64_t p = 0; p < kSoftExperts * kSoftSlots; ++p) {
    at::Tensor slot_1D = at::zeros({1, kSoftWidth}, at::kDouble);
    for (int64_t t = 0; t < x_LD.size(0); ++t) {
      slot_1D += x_LD.narrow(0, t, 1) * (power_LP[t][p] / power_LP.select(1, p).sum());
    }
    const int64_t e = p / kSoftSlots;
    const at::Tensor served_1D = dense_feed_forward(slot_1D, weight("experts.gate")[e], weight("experts.up")[e],
                                                    weight("experts.down")[e], Activation::kSwiglu);
    for (int64_t t = 0; t < x_LD.size(0); ++t) out_LD[t] += (power_LP[t][p] / power_LP[t].sum()) * served_1D[0];
  }
  return out_LD;
}

TEST(SoftMoe, EqualsItsFormulaWhereverTheSequencesLie) {
  const auto layer = soft_layer();
  const at::Tensor tokens = random_tensor("soft tokens", {kSoftTokens, kSoftWidth});
  const at::Tensor expected =
      at::cat({soft_by_hand(*layer, tokens.narrow(0, 0, 5)), soft_by_hand(*layer, tokens.narrow(0, 5, 3)),
               soft_by_hand(*layer, tokens.narrow(0, 8, 4))});
  for (const auto& split : token_splits(kSoftTokens, test_world()->size())) {
    const MoeOutput output = layer->forward(shard_of(tokens, split), soft_scope(split));
    EXPECT_TRUE(at::allclose(output.out_TD, shard_of(expected, split), 1e-11, 1e-12)) << split;
    EXPECT_TRUE(output.decision.global_choices_E.equal(at::full({kSoftExperts}, 6, at::kLong)));
    EXPECT_FALSE(output.decision.slots.has_value());
  }
}

TEST(SoftMoe, ADecoderBlockRefusesIt) {
  const RouterPreset soft = builtin_routers().at("soft");
  MoeConfig config{.router = "soft", .gate = "raw", .losses = {{"load_balance", 0}}};
  try {
    check_router(config, soft, builtin_capacities().at(config.capacity));
    ADD_FAILURE() << "no fault";
  } catch (const parallel::UserError& error) {
    EXPECT_STREQ(error.what(),
                 "moe.router = \"soft\" in a decoder block: it mixes a sequence's tokens, so that each would see later "
                 "ones; nearest legal: router = \"top_k\", or this one in an encoder");
  }
  EXPECT_NO_THROW(check_router(config, soft, builtin_capacities().at(config.capacity), {.causal = false}));
  for (const auto change : {+[](MoeConfig& c) { c.jitter = 0.1; }, +[](MoeConfig& c) { c.route_scale = 2; },
                            +[](MoeConfig& c) { c.gating_residual = true; }}) {
    MoeConfig changed = config;
    change(changed);
    EXPECT_THROW(check_router(changed, soft, builtin_capacities().at(changed.capacity), {.causal = false}),
                 parallel::UserError);
  }
  EXPECT_THROW(MoeLayer(ParameterSource(3, at::kDouble), config, {.width = 4}, MoeTables()), parallel::InternalError);
}

TEST(SequenceParts, SharedOnesHaveOneOwnerOnEveryRank) {
  for (const auto& split : token_splits(kSoftTokens, test_world()->size())) {
    const SequenceParts parts = sequence_parts(soft_scope(split), at::kCPU);
    // By hand: the ranks of each sequence's tokens.
    const auto rank = static_cast<size_t>(test_world()->rank());
    std::vector<std::vector<int64_t>> held(split.size(), std::vector<int64_t>(3, 0));
    int64_t token = 0;
    for (size_t r = 0; r < split.size(); ++r) {
      for (int64_t t = 0; t < split[r]; ++t) ++held[r][static_cast<size_t>(soft_sequences()[token++].item<int64_t>())];
    }
    std::vector<int64_t> lengths;
    size_t shared = 0;
    for (size_t s = 0; s < 3; ++s) {
      int64_t holders = 0, owner = -1;
      for (size_t r = 0; r < split.size(); ++r) {
        if (held[r][s] > 0 && holders++ == 0) owner = static_cast<int64_t>(r);
      }
      const int64_t part = held[rank][s] > 0 ? static_cast<int64_t>(lengths.size()) : -1;
      if (held[rank][s] > 0) lengths.push_back(held[rank][s]);
      if (holders < 2) continue;
      ASSERT_LT(shared, parts.shared.size());
      EXPECT_EQ(parts.shared[shared].owner, owner);
      EXPECT_EQ(parts.shared[shared++].part, part);
    }
    EXPECT_EQ(parts.shared.size(), shared);
    EXPECT_EQ(parts.lengths, lengths);
  }
}

}  // namespace
}  // namespace moetrain
