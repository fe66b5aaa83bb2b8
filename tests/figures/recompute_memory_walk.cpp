// Peak bytes of one micro-batch's forward and backward, and their processor seconds, with and without recompute: what
// tests/figures/recompute_memory starts. One rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "launch/models/model_builder.h"
#include "launch/ranks/groups.h"
#include "moetrain/objectives/objective.h"
#include "parallel/base/random.h"
#include "tests/support/peak_bytes.h"

namespace {

// swiglu, RMSNorm, dropless, as many key/value heads as query heads, float32
constexpr int64_t kLayers = 12, kWidth = 64, kHeads = 4, kExperts = 8, kTopK = 2, kHidden = 96, kVocabulary = 300;
constexpr int64_t kSequences = 16, kLength = 64, kTokens = kSequences * kLength;

/// Numbers of 4 bytes a token that backward needs of one block, counted by hand from what each layer computes.
namespace kept {
constexpr int64_t kDecision = 2 * kExperts + 3 * kTopK;  // logits, probabilities; gates, chosen experts (8 bytes each)
// The input's norm, normed, queries, keys, values, and their mix; the mix's normalizer of each head.
constexpr int64_t kAttention = 5 * kWidth + 1 + kHeads;
// The norm of the sum so far, normed, gate and up of its rows.
constexpr int64_t kFeed = kWidth + 1 + kTopK * 2 * kHidden;
constexpr int64_t kNone = kAttention + kFeed + kDecision;
constexpr int64_t kMoe = kAttention + kWidth + kDecision;
constexpr int64_t kBlock = kWidth + kDecision;
}  // namespace kept
// What the experts' backward makes on top, at most: the gradients of the output and of rows; of one expert's rows,
// taken to have twice an even share, copies of rows and gradients, what comes of gate and up once more and its
// gradient.
constexpr int64_t kInBackward = kWidth + kTopK * kWidth + 2 * kTopK * (2 * kWidth + 2 * kHidden) / kExperts;

// Gradients of experts, which are added to those of the micro-batch before.
constexpr int64_t kGradients = 3 * kExperts * kWidth * kHidden;

/// All blocks keep their share, one is whole, and goes backward.
double predicted_peak(int64_t kept_of_block) {
  return 4.0 * (kTokens * ((kLayers - 1) * kept_of_block + kept::kNone + kInBackward) + kGradients);
}

launch::Recipe recipe() {
  launch::Recipe recipe;
  recipe.run.precision = "float32";
  recipe.model.layers = kLayers;
  recipe.model.width = kWidth;
  recipe.model.heads = recipe.model.kv_heads = kHeads;
  recipe.moe.experts = kExperts;
  recipe.moe.top_k = kTopK;
  recipe.moe.hidden = kHidden;
  return recipe;
}

moetrain::Batch random_batch() {
  const parallel::RandomStream stream(3, "tokens");
  at::Tensor ids_SL = at::empty({kSequences, kLength}, at::kLong);
  for (int64_t i = 0; i < kTokens; ++i) ids_SL.mutable_data_ptr<int64_t>()[i] = stream.below(i, kVocabulary);
  return {.inputs = {.tokens = moetrain::TokenSide::whole(ids_SL)}, .targets_G = ids_SL.flatten().roll(1)};
}

struct Cost {
  int64_t peak = 0;    // bytes above what is there between steps
  double seconds = 0;  // of the processor, which others on the machine do not lengthen much
};

Cost cost_of(moetrain::Recompute recompute) {
  PeakBytes bytes;
  const launch::Groups groups = launch::local_groups();
  const auto model = launch::build_model(recipe(), kVocabulary, at::kCPU, groups.mesh);
  const auto reducer = launch::build_reducer(recipe(), *model, groups.mesh);
  const auto objective = moetrain::builtin_objectives().at("next_token").make({.config = {}, .teacher = nullptr});
  const moetrain::Batch batch = random_batch();
  const auto step = [&] {
    const moetrain::PassScope pass{.group = *groups.tokens, .training = true, .recompute = recompute};
    const auto output = objective->forward(*model, batch, pass, {.targets = kTokens});
    reducer->expect(/*last=*/false);
    torch::autograd::backward({output.losses.sum()}, {});
  };
  Cost cost{.seconds = 1e9};
  for (int repeat = 0; repeat < 6; ++repeat) {
    reducer->zero();
    step();  // by another micro-batch gradients have their memory
    const int64_t before = bytes.now();
    bytes.restart();
    const std::clock_t start = std::clock();
    step();
    cost.seconds = std::min(cost.seconds, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    cost.peak = bytes.peak() - before;
    if (repeat == 0) continue;  // it fills caches
    EXPECT_EQ(bytes.now(), before) << "a step leaves something behind";
  }
  return cost;
}

TEST(RecomputeMemory, OfOneMicroBatch) {
  struct Row {
    const char* name;
    int64_t kept;
    double share;  // of the peak without recompute that it may have
    double flops;  // of the blocks' matrix multiplications, in those without recompute (a forward and two for backward)
  };
  // In a block, multiplications with experts and router against all: those of attention are 4 D^2 and the mix's L D a
  // token (causal: half of 2 L D).
  const double attention = 4.0 * kWidth * kWidth + kLength * kWidth, experts = 3.0 * kTopK * kWidth * kHidden;
  const Row rows[] = {{"none", kept::kNone, 1.0, 1.0},
                      {"moe", kept::kMoe, 0.62, 1.0 + experts / (experts + attention) / 3.0},
                      {"block", kept::kBlock, 0.25, 4.0 / 3.0}};
  std::printf("%lld blocks, %lld tokens; a token's floats kept of a block; peak above weights and gradients\n",
              static_cast<long long>(kLayers), static_cast<long long>(kTokens));
  std::printf("%-10s %6s %10s %10s %7s %9s %9s %6s %9s\n", "recompute", "kept", "peak MB", "predicted", "share",
              "predicted", "seconds", "times", "predicted");
  Cost none;
  for (const Row& row : rows) {
    const Cost cost = cost_of(parallel::Enum<moetrain::Recompute>(row.name));
    if (row.kept == kept::kNone) none = cost;
    const double share = static_cast<double>(cost.peak) / static_cast<double>(none.peak);
    const double predicted = predicted_peak(row.kept) / predicted_peak(kept::kNone);
    std::printf("%-10s %6lld %10.2f %10.2f %7.3f %9.3f %9.3f %6.2f %9.2f\n", row.name, static_cast<long long>(row.kept),
                static_cast<double>(cost.peak) / 1e6, predicted_peak(row.kept) / 1e6, share, predicted, cost.seconds,
                cost.seconds / none.seconds, row.flops);
    EXPECT_LE(share, row.share) << row.name;
    EXPECT_NEAR(static_cast<double>(cost.peak), predicted_peak(row.kept), 0.1 * predicted_peak(row.kept)) << row.name;
  }
}

}  // namespace
