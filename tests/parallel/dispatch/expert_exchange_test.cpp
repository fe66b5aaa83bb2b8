#include "parallel/dispatch/expert_exchange.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "parallel/base/fault.h"
#include "tests/parallel/dispatch/toy_compute.h"
#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

constexpr int64_t kAllExperts = 12, kModelWidth = 3, kHiddenUnits = 12;

/// How the tokens of one test choose; a value that every rank knows.
struct Choice {
  const char* name;
  int64_t (*expert)(int64_t token, int64_t choice);
  int64_t (*tokens)(int64_t rank);
};

const Choice kChoices[] = {
    {"spread", [](int64_t t, int64_t j) { return (5 * t + 7 * j) % kAllExperts; }, [](int64_t r) { return 4 + 3 * r; }},
    {"all on one expert", [](int64_t, int64_t) { return int64_t{7}; }, [](int64_t r) { return 5 + r; }},
    {"ranks and experts without tokens", [](int64_t t, int64_t j) { return (t + 2 * j) % 3; },
     [](int64_t r) { return r % 2 == 0 ? int64_t{6} : int64_t{0}; }},
    {"drops", [](int64_t t, int64_t j) { return (t + j) % 4 == 0 ? Assignment::kDropped : (t + j) % kAllExperts; },
     [](int64_t r) { return 7 - r; }},
    {"no tokens at all", [](int64_t, int64_t) { return int64_t{0}; }, [](int64_t) { return int64_t{0}; }},
};

/// Every way to fold `ranks`, with even and uneven maps.
std::vector<MeshConfig> foldings(int64_t ranks) {
  std::vector<MeshConfig> all;
  for (int64_t expert = 1; expert <= ranks; ++expert) {
    for (int64_t expert_tensor = 1; expert * expert_tensor <= ranks; ++expert_tensor) {
      if (ranks % (expert * expert_tensor) != 0 || kHiddenUnits % expert_tensor != 0) continue;
      for (const double bound : {1.0, 4.0}) {
        all.push_back({.expert = expert, .expert_tensor = expert_tensor, .receive_bound = bound});
        all.back().experts_by_rank = std::vector<int64_t>(static_cast<size_t>(expert), 0);
        all.back().experts_by_rank.back() = 5;  // and nobody else holds any but the first
        all.back().experts_by_rank.front() += kAllExperts - 5;
        if (kAllExperts % expert == 0) {
          all.push_back({.expert = expert, .expert_tensor = expert_tensor, .receive_bound = bound});
        }
      }
    }
  }
  return all;
}

struct Result {
  at::Tensor out_TD;
  std::vector<at::Tensor> gradients;  // of tokens, gates, weights
};

class ExpertExchangeTest : public testing::Test {
 protected:
  /// The pipeline over this rank's tokens with `weights` of the experts in `group`.
  Result run(const Choice& choice, const ExpertGroup& group, const std::vector<at::Tensor>& weights) const {
    const int64_t rank = world_->rank(), tokens = choice.tokens(rank);
    at::Tensor expert_TK = at::empty({tokens, 2}, at::kLong);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < 2; ++j) expert_TK[t][j] = choice.expert(10 * rank + t, j);
    }
    const std::string place = std::to_string(rank);
    std::vector<at::Tensor> leaves{random_tensor("tokens" + place, {tokens, kModelWidth}),
                                   random_tensor("gates" + place, {tokens, 2})};
    for (const at::Tensor& weight : weights) leaves.push_back(weight.detach().clone());
    for (at::Tensor& leaf : leaves) leaf.requires_grad_(true);
    const at::Tensor out_TD = expert_pipeline(leaves[0], {expert_TK, leaves[1], kAllExperts},
                                              std::make_shared<ToyCompute>(), {leaves[2], leaves[3]}, group);
    torch::autograd::backward({(out_TD * random_tensor("probe" + place, out_TD.sizes())).sum()}, {});
    Result result{out_TD.detach(), {}};
    for (const at::Tensor& leaf : leaves) result.gradients.push_back(leaf.grad());
    return result;
  }

  std::shared_ptr<Communicator> world_ = test_world();
  const std::vector<at::Tensor> weights_{random_tensor("in", {kAllExperts, kModelWidth, kHiddenUnits}),
                                         random_tensor("out", {kAllExperts, kHiddenUnits, kModelWidth})};
};

void expect_near(const at::Tensor& got, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  EXPECT_TRUE(at::allclose(got, expected, 1e-12, 1e-13)) << what;
}

/// Sequential; in chunks, and other ones in backward; in more chunks than many a rank has rows.
const Plan kPlans[] = {
    {},
    {.name = "chunks", .overlap = true, .layers = {{.forward_chunks = 3, .backward_chunks = 5}}},
    {.name = "one after another", .overlap = false, .layers = {{.forward_chunks = 2, .backward_chunks = 1}}},
    {.name = "many, one link", .overlap = true, .one_link = true, .layers = {{.forward_chunks = 16, .backward_chunks = 16}}},
};

TEST_F(ExpertExchangeTest, EveryFoldingGivesWhatOneRankGives) {
  size_t number = 0;
  for (const MeshConfig& config : foldings(world_->size())) {
    const auto mesh = std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate());
    const ExpertGroup group{mesh, expert_map(config, kAllExperts)};
    const int64_t first = group.map.first(mesh->place().expert), count = group.map.count(mesh->place().expert);
    const int64_t hidden = kHiddenUnits / config.expert_tensor, from = mesh->place().expert_tensor * hidden;
    const std::vector<at::Tensor> own{weights_[0].narrow(0, first, count).narrow(2, from, hidden).contiguous(),
                                      weights_[1].narrow(0, first, count).narrow(1, from, hidden).contiguous()};
    for (const Choice& choice : kChoices) {
      mesh->follow(kPlans[number++ % std::size(kPlans)]);
      const std::string what = concat(choice.name, ", ", mesh->shape().describe(), ", bound ", config.receive_bound,
                                      ", plan ", mesh->schedule()->plan().name);
      const Result spread = run(choice, group, own), alone = run(choice, one_rank(kAllExperts), weights_);
      expect_near(spread.out_TD, alone.out_TD, what);
      for (size_t i = 0; i < 2; ++i) expect_near(spread.gradients[i], alone.gradients[i], what);
      for (size_t w = 0; w < 2; ++w) {
        at::Tensor got = spread.gradients[2 + w].clone(), expected = alone.gradients[2 + w].clone();
        mesh->replicas(Replicas::kExpertData)->all_reduce(got, ReduceOp::kSum).wait();
        world_->all_reduce(expected, ReduceOp::kSum).wait();
        expect_near(got, expected.narrow(0, first, count).narrow(w == 0 ? 2 : 1, from, hidden), what);
      }
    }
  }
}

TEST_F(ExpertExchangeTest, WhatExceedsTheBoundGoesInFurtherPasses) {
  const int64_t ranks = world_->size();
  const MeshConfig config{
      .expert = ranks, .experts_by_rank = std::vector<int64_t>(static_cast<size_t>(ranks), 1), .receive_bound = 1.0};
  const ExpertGroup group{std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate()),
                          expert_map(config, ranks)};
  std::vector<int64_t> rows(static_cast<size_t>(ranks), 0);
  rows.back() = 10;  // on every rank: all for the last rank's expert
  const ExpertExchange exchange(group, rows, at::kCPU);
  EXPECT_EQ(exchange.receive_rows(), 10);  // an even share
  EXPECT_EQ(exchange.passes(), ranks);
  const at::Tensor rows_RD = at::arange(10, at::kDouble).unsqueeze(1) + 100 * static_cast<double>(world_->rank());
  at::Tensor back_RD;
  const RowChunks cut = exchange.cut(1);
  for (int64_t pass = 0; pass < exchange.passes(); ++pass) {
    const RowPass& rows_of_pass = cut.passes[static_cast<size_t>(pass)];
    const at::Tensor got = exchange.dispatch(rows_RD, rows_of_pass.chunks[0]).take();
    const bool last = world_->rank() == ranks - 1;
    ASSERT_EQ(got.size(0), last ? 10 : 0);
    EXPECT_EQ(rows_of_pass.rows_per_expert, std::vector<int64_t>{last ? 10 : 0});
    if (last) {
      EXPECT_TRUE(got.equal(at::arange(10, at::kDouble).unsqueeze(1) + 100.0 * static_cast<double>(pass)));
    }
    exchange.combine(got * 2, rows_of_pass.chunks[0], back_RD).wait();
  }
  EXPECT_TRUE(back_RD.equal(rows_RD * 2));
}

TEST_F(ExpertExchangeTest, LowPrecisionTravelsUnchanged) {
  const int64_t ranks = world_->size();
  const MeshConfig config{.expert = ranks, .experts_by_rank = std::vector<int64_t>(static_cast<size_t>(ranks), 1)};
  const ExpertGroup group{std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate()),
                          expert_map(config, ranks)};
  const std::vector<int64_t> rows(static_cast<size_t>(ranks), 3);
  const ExpertExchange exchange(group, rows, at::kCPU);
  const at::Tensor rows_RD = random_tensor("low" + std::to_string(world_->rank()), {3 * ranks, 5}).to(at::kBFloat16);
  at::Tensor back_RD;
  const RowChunks cut = exchange.cut(1);
  const RowChunk& all = cut.passes[0].chunks[0];
  exchange.combine(exchange.dispatch(rows_RD, all).take(), all, back_RD).wait();
  EXPECT_TRUE(back_RD.equal(rows_RD));
}

}  // namespace
}  // namespace parallel
