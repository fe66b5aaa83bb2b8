#include "parallel/dispatch/expert_exchange.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <set>

#include "parallel/base/fault.h"
#include "tests/parallel/dispatch/pipeline_run.h"
#include "tests/support/random_tensor.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

using ExpertExchangeTest = PipelineRun;

void expect_near(const at::Tensor& got, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  EXPECT_TRUE(at::allclose(got, expected, 1e-12, 1e-13)) << what;
}

/// So many tokens' only choices, of each expert.
ChoiceOrder order_of(const std::vector<int64_t>& rows_per_expert) {
  std::vector<int64_t> expert_R;
  for (size_t e = 0; e < rows_per_expert.size(); ++e) {
    expert_R.insert(expert_R.end(), static_cast<size_t>(rows_per_expert[e]), static_cast<int64_t>(e));
  }
  return {at::tensor(expert_R, at::kLong).unsqueeze(1), std::ssize(rows_per_expert)};
}

/// Sequential; in chunks, and other ones in backward; in more chunks than many a rank has rows.
const Plan kPlans[] = {
    {},
    {.name = "chunks", .overlap = true, .layers = {{.forward_chunks = 3, .backward_chunks = 5}}},
    {.name = "one after another", .overlap = false, .layers = {{.forward_chunks = 2, .backward_chunks = 1}}},
    {.name = "many, one link",
     .overlap = true,
     .one_link = true,
     .layers = {{.forward_chunks = 16, .backward_chunks = 16}}},
};

TEST_F(ExpertExchangeTest, EveryFoldingGivesWhatOneRankGives) {
  size_t number = 0;
  for (const MeshConfig& config : foldings(world_->size())) {
    const auto mesh = std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate());
    const ExpertGroup group{mesh, expert_map(config, kAllExperts)};
    const int64_t first = group.map.first(mesh->place().expert), count = group.map.count(mesh->place().expert);
    const int64_t hidden = kHiddenUnits / config.expert_tensor, from = mesh->place().expert_tensor * hidden;
    const std::vector<at::Tensor> own = own_weights(group);
    for (const Choice& choice : kChoices) {
      mesh->follow(kPlans[number++ % std::size(kPlans)]);
      const std::string what = concat(choice.name, ", ", mesh->shape().describe(), ", bound ", config.receive_bound,
                                      ", plan ", mesh->schedule()->plan().name);
      const PipelineResult spread = run(choice, group, own), alone = run(choice, one_rank(kAllExperts), weights_);
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

/// Notes what products may take of the device while it computes.
class WatchedCompute : public ToyCompute {
 public:
  at::Tensor forward(const at::Tensor& rows_RD, const Counts& counts, const Weights& weights,
                     const RowTensors& saved) const override {
    note();
    return ToyCompute::forward(rows_RD, counts, weights, saved);
  }
  at::Tensor backward_rows(const at::Tensor& rows_RD, const RowTensors& saved, const at::Tensor& grad_RD,
                           const Counts& counts, const Weights& weights, const RowTensors& grads_in) const override {
    note();
    return ToyCompute::backward_rows(rows_RD, saved, grad_RD, counts, weights, grads_in);
  }

  mutable std::set<int64_t> left;

 private:
  void note() const { left.insert(at::globalContext()._SMCarveout_EXPERIMENTAL().value_or(0)); }
};

TEST_F(ExpertExchangeTest, ExpertsInPiecesLeaveThePlansShareOfADeviceToExchanges) {
  const MeshConfig config{.expert = world_->size()};
  const auto mesh = std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate());
  const ExpertGroup group{mesh, expert_map(config, kAllExperts)};
  const auto left_under = [&](Plan plan) {
    plan.carve_out = 7;
    mesh->follow(std::move(plan));
    const auto compute = std::make_shared<WatchedCompute>();
    run(kChoices[0], group, own_weights(group), compute);
    EXPECT_FALSE(at::globalContext()._SMCarveout_EXPERIMENTAL());
    return compute->left;
  };
  const int64_t share = world_->size() > 1 ? 7 : 0;  // alone nothing is cut
  EXPECT_EQ(left_under({.overlap = true, .layers = {{.forward_chunks = 2, .backward_chunks = 3}}}),
            std::set<int64_t>{share});
  EXPECT_EQ(left_under({.overlap = true}), std::set<int64_t>{0});
  EXPECT_EQ(left_under({.overlap = false, .layers = {{.forward_chunks = 2, .backward_chunks = 2}}}),
            std::set<int64_t>{0});
}

TEST_F(ExpertExchangeTest, WhatExceedsTheBoundGoesInFurtherPasses) {
  const int64_t ranks = world_->size();
  const MeshConfig config{
      .expert = ranks, .experts_by_rank = std::vector<int64_t>(static_cast<size_t>(ranks), 1), .receive_bound = 1.0};
  const ExpertGroup group{std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate()),
                          expert_map(config, ranks)};
  std::vector<int64_t> rows(static_cast<size_t>(ranks), 0);
  rows.back() = 10;  // on every rank: all for the last rank's expert
  const ExpertExchange exchange(group, order_of(rows));
  EXPECT_EQ(exchange.receive_rows(), 10);  // an even share
  EXPECT_EQ(exchange.passes(), ranks);
  const at::Tensor rows_RD = at::arange(10, at::kDouble).unsqueeze(1) + 100 * static_cast<double>(world_->rank());
  at::Tensor back_RD;
  const RowChunks cut = exchange.cut(1);
  for (int64_t pass = 0; pass < exchange.passes(); ++pass) {
    const RowPass& rows_of_pass = cut.passes[static_cast<size_t>(pass)];
    const at::Tensor got = exchange.dispatch(rows_RD, cut, rows_of_pass.chunks[0]).take();
    const bool last = world_->rank() == ranks - 1;
    ASSERT_EQ(got.size(0), last ? 10 : 0);
    EXPECT_EQ(rows_of_pass.rows_per_expert.on_host(), std::vector<int64_t>{last ? 10 : 0});
    if (last) {  // of every rank its share: row 0 of each, then row 1 of each, ...
      const at::Tensor place = at::arange(10 * pass, 10 * (pass + 1), at::kLong).unsqueeze(1);
      EXPECT_TRUE(got.equal((place.floor_divide(ranks) + 100 * place.remainder(ranks)).to(at::kDouble)));
    }
    exchange.combine(got * 2, rows_of_pass.chunks[0], back_RD).wait();
  }
  EXPECT_TRUE(back_RD.equal(rows_RD * 2));
}

TEST_F(ExpertExchangeTest, EveryChunkAsksItsShareOfEveryLink) {
  const int64_t ranks = world_->size(), experts = 3 * ranks;
  const MeshConfig config{.expert = ranks, .experts_by_rank = std::vector<int64_t>(static_cast<size_t>(ranks), 3)};
  const ExpertGroup group{std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate()),
                          expert_map(config, experts)};
  std::vector<int64_t> rows;  // uneven; of every rank 640 for each rank's experts
  for (int64_t e = 0; e < experts; ++e) rows.push_back(std::vector<int64_t>{400, 160, 80}[static_cast<size_t>(e % 3)]);
  const ExpertExchange exchange(group, order_of(rows));
  for (const int64_t chunks : {2, 5, 16}) {
    const RowChunks cut = exchange.cut(chunks);
    const double share = 640.0 / static_cast<double>(ranks == 1 ? 1 : chunks);  // alone nothing is cut
    for (const RowChunk& chunk : cut.passes[0].chunks) {
      for (const int64_t sent : chunk.sent) EXPECT_NEAR(static_cast<double>(sent), share, 37);  // a part of the largest
    }
  }
}

TEST_F(ExpertExchangeTest, LowPrecisionTravelsUnchanged) {
  const int64_t ranks = world_->size();
  const MeshConfig config{.expert = ranks, .experts_by_rank = std::vector<int64_t>(static_cast<size_t>(ranks), 1)};
  const ExpertGroup group{std::make_shared<const Mesh>(config, world_->duplicate(), world_->duplicate()),
                          expert_map(config, ranks)};
  const std::vector<int64_t> rows(static_cast<size_t>(ranks), 3);
  const ExpertExchange exchange(group, order_of(rows));
  const at::Tensor rows_RD = random_tensor("low" + std::to_string(world_->rank()), {3 * ranks, 5}).to(at::kBFloat16);
  at::Tensor back_RD;
  const RowChunks cut = exchange.cut(1);
  const RowChunk& all = cut.passes[0].chunks[0];
  exchange.combine(exchange.dispatch(rows_RD, cut, all).take(), all, back_RD).wait();
  EXPECT_TRUE(back_RD.equal(rows_RD));
}

}  // namespace
}  // namespace parallel
