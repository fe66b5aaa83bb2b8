// ZeRO: gradients, state and parameters in parts.
#include "tests/parallel/gradients/reducer_support.h"

namespace parallel {
namespace {

class GradientShardingTest : public GradientReducerTest {};

TEST_F(GradientShardingTest, GradientsArePartsOfTheSums) {
  for (const Sharding sharding : {Sharding::kState, Sharding::kGradients}) {
    for (const int64_t micro_batches : {1, 3}) {
      const auto reference_parameters = leaves({5, 1, 12, 3, 7}), parameters = leaves({5, 1, 12, 3, 7});
      GradientReducer reference(reference_parameters, group_), reducer(parameters, group_, {100, sharding});
      run_update(reference, reference_parameters, micro_batches);
      run_update(reducer, parameters, micro_batches);
      at::Tensor covered = at::zeros({static_cast<int64_t>(parameters.size())}, at::kLong);
      for (size_t i = 0; i < parameters.size(); ++i) {
        const auto [begin, count] = reducer.owned(i);
        covered[static_cast<int64_t>(i)] = count;
        const at::Tensor expected = reference.gradient(i).flatten().narrow(0, begin, count);
        EXPECT_TRUE(at::allclose(reducer.gradient(i).flatten(), expected, 1e-5, 1e-6)) << i;
        EXPECT_TRUE(
            reducer.owned_part(i).flatten().equal(reference_parameters[i].detach().flatten().narrow(0, begin, count)));
      }
      group_->all_reduce(covered, ReduceOp::kSum).wait();  // every element is somebody's, once
      for (size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_EQ(covered[static_cast<int64_t>(i)].item<int64_t>(), parameters[i].numel()) << i;
      }
    }
  }
}

TEST_F(GradientShardingTest, UnitsAreNotCut) {
  const std::vector<GradientUnit> units{{}, {6, 6}, {4, 8}, {}};
  for (const Sharding sharding : {Sharding::kState, Sharding::kGradients}) {
    const auto parameters = leaves({5, 6, 12, 3});
    GradientReducer reducer(parameters, group_, {.bucket_bytes = 100, .sharding = sharding, .units = units});
    run_update(reducer, parameters, 2);
    at::Tensor covered = at::zeros({static_cast<int64_t>(parameters.size())}, at::kLong);
    for (size_t i = 0; i < parameters.size(); ++i) {
      const auto [begin, count] = reducer.owned(i);
      EXPECT_EQ(begin % units[i].elements, 0) << i;
      EXPECT_EQ(count % units[i].elements, 0) << i;
      EXPECT_TRUE(reducer.gradient(i).eq(total_slope(i, 2)).all().item<bool>()) << i;
      covered[static_cast<int64_t>(i)] = count;
      reducer.owned_part(i).mul_(2);
    }
    reducer.gather_parameters();
    group_->all_reduce(covered, ReduceOp::kSum).wait();
    for (size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_EQ(covered[static_cast<int64_t>(i)].item<int64_t>(), parameters[i].numel()) << i;
      EXPECT_TRUE(parameters[i].detach().eq(2).all().item<bool>()) << i;
    }
  }
}

TEST_F(GradientShardingTest, WhatEachOwnerWritesReachesAll) {
  const auto parameters = leaves({5, 1, 12, 3, 7});
  std::vector<at::Tensor> before;
  for (const at::Tensor& parameter : parameters) before.push_back(parameter.detach().clone());
  GradientReducer reducer(parameters, group_, {100, Sharding::kState});
  for (size_t i = 0; i < parameters.size(); ++i) reducer.owned_part(i).mul_(2);
  reducer.gather_parameters();
  for (size_t i = 0; i < parameters.size(); ++i) EXPECT_TRUE(parameters[i].detach().equal(before[i] * 2)) << i;
}

/// Of experts of a kind that this rank has none of.
TEST_F(GradientShardingTest, ABucketOfNothingHasAGradientOfNothing) {
  for (const Sharding sharding : {Sharding::kNone, Sharding::kState, Sharding::kGradients}) {
    const auto parameters = leaves({5, 0, 12});
    GradientReducer reducer(parameters, group_, {.bucket_bytes = 1, .sharding = sharding});
    run_update(reducer, parameters, 2);
    EXPECT_EQ(reducer.gradient(1).numel(), 0);
    reducer.gather_parameters();
  }
}

TEST_F(GradientShardingTest, KeptGradientsFallAsOneOverRanks) {
  const auto parameters = leaves({5, 1, 12, 3, 7});
  const GradientReducer whole(leaves({5, 1, 12, 3, 7}), group_),
      parts(parameters, group_, {1 << 20, Sharding::kGradients});
  at::Tensor kept = at::full({1}, parts.kept_bytes(), at::kLong);
  group_->all_reduce(kept, ReduceOp::kSum).wait();
  EXPECT_EQ(kept.item<int64_t>(), whole.kept_bytes());
}

}  // namespace
}  // namespace parallel
