#include "parallel/gradients/gradient_reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>

#include "parallel/base/fault.h"
#include "tests/parallel/gradients/reducer_support.h"

namespace parallel {
namespace {

TEST_F(GradientReducerTest, SumsOverRanks) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const auto parameters = leaves({3, 1, 5}, type);
    GradientReducer reducer(parameters, group_);
    run_update(reducer, parameters, 1);
    expect_totals(reducer, parameters, 1);
    EXPECT_EQ(reducer.gradient(0).scalar_type(), type);
  }
}

TEST_F(GradientReducerTest, MicroBatchesAccumulateAndCrossTheWireOnce) {
  const auto parameters = leaves({3, 1, 5});
  GradientReducer reducer(parameters, group_);
  run_update(reducer, parameters, 4);
  expect_totals(reducer, parameters, 4);
  EXPECT_EQ(group_->bytes(), (std::vector<int64_t>{9 * 8}));
}

TEST_F(GradientReducerTest, ZeroStartsTheNextUpdate) {
  const auto parameters = leaves({3, 1, 5});
  GradientReducer reducer(parameters, group_);
  for (int update = 0; update < 3; ++update) {
    run_update(reducer, parameters, 2);
    expect_totals(reducer, parameters, 2);
  }
}

TEST_F(GradientReducerTest, NothingIsSentBeforeTheLastMicroBatch) {
  const auto parameters = leaves({3, 1});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  reducer.zero();
  for (int64_t m = 0; m < 3; ++m) backward_of(loss(parameters, m));
  EXPECT_TRUE(group_->operations().empty());
  reducer.finish();
  EXPECT_EQ(group_->bytes(), (std::vector<int64_t>{8, 24}));
  expect_totals(reducer, parameters, 3);
}

// A bucket closes with the parameter that fills it; parameters go in from the last to the first.
TEST_F(GradientReducerTest, BucketBoundaries) {
  struct Case {
    int64_t bucket_bytes;
    std::vector<int64_t> buckets;
  };
  for (const Case& one : {Case{1, {64, 8, 40, 24}}, Case{64, {64, 72}}, Case{65, {72, 64}}, Case{72, {72, 64}},
                          Case{136, {136}}, Case{1 << 20, {136}}}) {
    const auto parameters = leaves({3, 5, 1, 8});
    GradientReducer reducer(parameters, group_, {.bucket_bytes = one.bucket_bytes});
    group_->forget();
    run_update(reducer, parameters, 2);
    EXPECT_EQ(group_->bytes(), one.buckets) << one.bucket_bytes;
    EXPECT_EQ(reducer.bytes(), 136);
    expect_totals(reducer, parameters, 2);
  }
}

TEST_F(GradientReducerTest, NoParametersAndEmptyParameters) {
  GradientReducer nothing({}, group_);
  nothing.zero();
  nothing.expect(true);
  nothing.finish();
  EXPECT_EQ(nothing.bytes(), 0);
  const auto parameters = leaves({0, 4, 0});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  run_update(reducer, parameters, 2);
  expect_totals(reducer, parameters, 2);
}

TEST_F(GradientReducerTest, ShapesOfParametersAreKept) {
  const at::Tensor matrix = at::ones({2, 3}, at::kDouble).requires_grad_(true);
  const at::Tensor scalar = at::ones({}, at::kDouble).requires_grad_(true);
  GradientReducer reducer({matrix, scalar}, group_);
  reducer.zero();
  reducer.expect(true);
  const at::Tensor probe = at::arange(6, at::kDouble).view({2, 3});
  backward_of((matrix * probe).sum() * scalar);
  reducer.finish();
  const double ranks = static_cast<double>(size_);
  EXPECT_TRUE(reducer.gradient(0).equal(probe * ranks));
  EXPECT_EQ(reducer.gradient(1).sizes(), at::IntArrayRef{});
  EXPECT_EQ(reducer.gradient(1).item<double>(), 15.0 * ranks);
}

TEST_F(GradientReducerTest, LowPrecisionGradientsAreAddedInFloat32) {
  const at::Tensor parameter = at::ones({4}, at::kBFloat16).requires_grad_(true);
  GradientReducer reducer({parameter}, group_);
  reducer.zero();
  // 256 + 63 * 1 on each rank: from 256 on, bfloat16 has only even numbers, and 256 + 1 is rounded back to 256.
  at::Tensor in_bfloat16 = at::zeros({4}, at::kBFloat16);
  for (int m = 0; m < 64; ++m) {
    reducer.expect(m == 63);
    const double step = m == 0 ? 256 : 1;
    backward_of((parameter * step).sum());
    in_bfloat16 += step;
    EXPECT_EQ(parameter.grad().data_ptr(), reducer.gradient(0).data_ptr());  // no second copy is kept
  }
  reducer.finish();
  EXPECT_EQ(reducer.gradient(0).scalar_type(), at::kFloat);
  const double exact = 319.0 * static_cast<double>(size_);
  EXPECT_TRUE(reducer.gradient(0).eq(exact).all().item<bool>()) << reducer.gradient(0)[0].item<double>();
  EXPECT_GT(std::abs(in_bfloat16[0].item<double>() - 319) / 319, 0.1);
}

TEST_F(GradientReducerTest, LowAndSinglePrecisionShareBuckets) {
  auto parameters = leaves({3, 2}, at::kFloat);
  parameters.push_back(at::ones({4}, at::kBFloat16).requires_grad_(true));
  GradientReducer reducer(parameters, group_);
  reducer.zero();
  reducer.expect(true);
  backward_of((parameters[0].sum() + parameters[1].sum()) * 3 + parameters[2].sum() * 2);
  reducer.finish();
  const double ranks = static_cast<double>(size_);
  EXPECT_TRUE(reducer.gradient(1).eq(3 * ranks).all().item<bool>());
  EXPECT_TRUE(reducer.gradient(2).eq(2 * ranks).all().item<bool>());
}

TEST_F(GradientReducerTest, DoubleAndSinglePrecisionDoNotMix) {
  std::vector<at::Tensor> parameters = leaves({3});
  parameters.push_back(at::ones({3}, at::kFloat).requires_grad_(true));
  EXPECT_THROW(GradientReducer(parameters, group_), InternalError);
}

TEST_F(GradientReducerTest, ParameterThatNoLossReachesKeepsItsZeros) {
  const auto parameters = leaves({3, 2, 4});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  for (int update = 0; update < 2; ++update) {
    reducer.zero();
    reducer.expect(true);
    backward_of(parameters[0].sum() * 2 + parameters[2].sum() * 3);
    reducer.finish();
    const double ranks = static_cast<double>(size_);
    EXPECT_TRUE(reducer.gradient(0).eq(2 * ranks).all().item<bool>());
    EXPECT_TRUE(reducer.gradient(1).eq(0).all().item<bool>());
    EXPECT_TRUE(reducer.gradient(2).eq(3 * ranks).all().item<bool>());
  }
  EXPECT_EQ(group_->operations().size(), 6u);
}

// What a parameter got in one round is forgotten in the next, in which perhaps nothing reaches it, or only later.
TEST_F(GradientReducerTest, RoundsKnowNothingOfEachOther) {
  const auto parameters = leaves({3, 2});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  const double ranks = static_cast<double>(size_);
  for (const bool reached : {true, false, true}) {
    reducer.zero();
    for (int m = 0; m < 3; ++m) {
      reducer.expect(m == 2);
      const at::Tensor once = parameters[0].sum() * 2;
      backward_of(reached && m == 1 ? once + parameters[1].sum() * 5 : once);
    }
    reducer.finish();
    EXPECT_TRUE(reducer.gradient(0).eq(3 * 2 * ranks).all().item<bool>());
    EXPECT_TRUE(reducer.gradient(1).eq(reached ? 5 * ranks : 0).all().item<bool>());
  }
}

// Each rank's loss reaches one parameter only, and the last rank calls no backward: it has no tokens.
TEST_F(GradientReducerTest, RanksThatReachDifferentParametersAgree) {
  const auto parameters = leaves({3, 2, 4});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  const int64_t idle = size_ - 1;
  reducer.zero();
  reducer.expect(true);
  if (rank_ != idle) backward_of(parameters[static_cast<size_t>(rank_ % 3)].sum() * 5);
  reducer.finish();
  for (size_t i = 0; i < 3; ++i) {
    const double expected = static_cast<int64_t>(i) < idle ? 5 : 0;
    EXPECT_TRUE(reducer.gradient(i).eq(expected).all().item<bool>()) << i;
  }
}

TEST_F(GradientReducerTest, RankWithoutTokensAddsZeros) {
  const at::Tensor weight = at::ones({3, 2}, at::kDouble).requires_grad_(true);
  GradientReducer reducer({weight}, group_);
  reducer.zero();
  reducer.expect(true);
  const int64_t tokens = rank_ == 0 && size_ > 1 ? 0 : 4;
  backward_of(at::mm(at::ones({tokens, 3}, at::kDouble), weight).sum());
  reducer.finish();
  const double with_tokens = static_cast<double>(size_ > 1 ? size_ - 1 : 1);
  EXPECT_TRUE(reducer.gradient(0).eq(4 * with_tokens).all().item<bool>());
}

TEST_F(GradientReducerTest, ParameterUsedTwiceIsReadyOnce) {
  const auto parameters = leaves({3, 2});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  reducer.zero();
  reducer.expect(true);
  backward_of((parameters[0] * 2).sum() + parameters[1].sum() * (parameters[0] * 3).sum());
  reducer.finish();
  const double ranks = static_cast<double>(size_);
  EXPECT_TRUE(reducer.gradient(0).eq((2 + 3 * 2) * ranks).all().item<bool>());
  EXPECT_EQ(group_->operations().size(), 2u);
}

TEST_F(GradientReducerTest, BucketsAreIssuedInOneOrderWhateverOrderBackwardTakes) {
  const std::vector<int64_t> sizes{1, 2, 3, 4, 5, 6};
  const auto parameters = leaves(sizes);
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  // The engine runs the newest node first: building the terms in another order turns its order about.
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (int turn = 0; turn < 6; ++turn) {
    std::rotate(order.begin(), order.begin() + (rank_ + turn) % 6, order.end());
    if ((rank_ + turn) % 2 == 1) std::reverse(order.begin(), order.end());
    group_->forget();
    reducer.zero();
    reducer.expect(true);
    std::vector<at::Tensor> terms;
    for (const size_t i : order) terms.push_back((parameters[i] * slope(rank_, i, 0)).sum());
    backward_of(at::stack(terms).sum());
    reducer.finish();
    EXPECT_EQ(group_->bytes(), (std::vector<int64_t>{48, 40, 32, 24, 16, 8})) << turn;
    expect_totals(reducer, parameters, 1);
  }
}

/// Passes x on; its backward calls what it was given.
struct CallInBackward : torch::autograd::Function<CallInBackward> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x, std::function<void()>* action) {
    called = action;
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list grad) {
    (*called)();
    return {grad[0], at::Tensor()};
  }
  static inline std::function<void()>* called = nullptr;
};

TEST_F(GradientReducerTest, BucketsAreIssuedWhileBackwardGoesOn) {
  const auto parameters = leaves({3, 3, 3, 3});
  GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
  reducer.zero();
  reducer.expect(true);
  size_t issued_before_the_first_layer = 0;
  std::function<void()> look = [&] { issued_before_the_first_layer = group_->operations().size(); };
  at::Tensor x = CallInBackward::apply(at::ones({3}, at::kDouble) * parameters[0], &look);
  for (size_t i = 1; i < parameters.size(); ++i) x = x * parameters[i];
  backward_of(x.sum());
  EXPECT_EQ(issued_before_the_first_layer, 3u);
  EXPECT_EQ(group_->operations().size(), 4u);  // finish() has nothing left to issue
  reducer.finish();
  EXPECT_EQ(group_->operations().size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(reducer.gradient(i).eq(static_cast<double>(size_)).all().item<bool>());
}

TEST_F(GradientReducerTest, DestructionRestoresTheParameters) {
  const auto parameters = leaves({3, 2});
  {
    GradientReducer reducer(parameters, group_);
    run_update(reducer, parameters, 1);
  }
  group_->forget();
  for (const at::Tensor& parameter : parameters) EXPECT_FALSE(parameter.grad().defined());
  backward_of(loss(parameters));
  EXPECT_TRUE(parameters[0].grad().eq(slope(rank_, 0, 0)).all().item<bool>());  // this rank's alone
  EXPECT_TRUE(group_->operations().empty());
}

TEST_F(GradientReducerTest, DestructionInMidUpdateWaitsForWhatIsUnderWay) {
  const auto parameters = leaves({1 << 18, 2});
  {
    GradientReducer reducer(parameters, group_, {.bucket_bytes = 1});
    reducer.zero();
    reducer.expect(true);
    backward_of(loss(parameters));
  }
  at::Tensor one = at::ones({1}, at::kLong);
  group_->all_reduce(one, ReduceOp::kSum).wait();
  EXPECT_EQ(one.item<int64_t>(), size_);
}

}  // namespace
}  // namespace parallel
