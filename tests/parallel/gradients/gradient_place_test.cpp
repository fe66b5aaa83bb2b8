// Nodes that write their gradient where it is gathered.
#include "parallel/autograd/gradient_place.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cstdlib>

#include "parallel/base/fault.h"
#include "tests/parallel/gradients/reducer_support.h"
#include "tests/support/peak_bytes.h"

namespace parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// factor x sum(parameter), its gradient made in empty_gradient; remembers where.
class Scaled : public torch::autograd::Function<Scaled> {
 public:
  static Variable forward(AutogradContext* context, const Variable& parameter, double factor,
                          GradientWidth width = GradientWidth::kOwn) {
    context->save_for_backward({parameter});
    context->saved_data["factor"] = factor;
    context->saved_data["summed"] = width == GradientWidth::kSummed;
    return parameter.sum().to(gradient_type(parameter)) * factor;
  }
  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const bool summed = context->saved_data["summed"].toBool();
    at::Tensor gradient =
        empty_gradient(context->get_saved_variables()[0], summed ? GradientWidth::kSummed : GradientWidth::kOwn);
    written = gradient.data_ptr();
    gradient.fill_(context->saved_data["factor"].toDouble() * grad_outputs[0].item<double>());
    return {gradient, Variable(), Variable()};
  }
  static inline const void* written = nullptr;
};

TEST_F(GradientReducerTest, ANodeWritesTheFirstGradientOfARoundInItsPlace) {
  const at::Tensor parameter = at::ones({3, 5}, at::kFloat).requires_grad_(true);
  GradientReducer reducer({parameter}, group_);
  for (int round = 0; round < 3; ++round) {
    reducer.zero();
    for (int m = 0; m < 3; ++m) {
      reducer.expect(m == 2);
      backward_of(Scaled::apply(parameter, m + 1));
      EXPECT_EQ(Scaled::written == reducer.gradient(0).data_ptr(), m == 0);
    }
    reducer.finish();
    EXPECT_TRUE(reducer.gradient(0).eq(6.0 * static_cast<double>(size_)).all().item<bool>());
  }
}

TEST_F(GradientReducerTest, ThePlaceIsGivenOnceWhereAParameterIsUsedTwice) {
  const at::Tensor parameter = at::ones({4}, at::kFloat).requires_grad_(true);
  GradientReducer reducer({parameter}, group_);
  for (int round = 0; round < 2; ++round) {
    reducer.zero();
    reducer.expect(true);
    backward_of(Scaled::apply(parameter, 1) + parameter.sum() * 10 + Scaled::apply(parameter, 100));
    reducer.finish();
    EXPECT_TRUE(reducer.gradient(0).eq(111.0 * static_cast<double>(size_)).all().item<bool>());
  }
}

TEST_F(GradientReducerTest, APlaceThatIsTakenInVainHoldsNothing) {
  const std::vector<at::Tensor> parameters = leaves({4, 2}, at::kFloat);
  GradientReducer reducer(parameters, group_);
  reducer.zero();
  empty_gradient(parameters[0]).fill_(7);  // let go of, and never given to autograd
  reducer.expect(true);
  backward_of(parameters[1].sum());
  reducer.finish();
  EXPECT_TRUE(reducer.gradient(0).eq(0).all().item<bool>());
  reducer.zero();
  empty_gradient(parameters[0]).fill_(7);
  reducer.expect(true);
  backward_of(loss(parameters));
  reducer.finish();
  expect_totals(reducer, parameters, 1);
}

TEST_F(GradientReducerTest, OfAShardedUpdateTheWholeBucketIsThePlace) {
  const at::Tensor parameter = at::ones({6}, at::kFloat).requires_grad_(true);
  GradientReducer reducer({parameter}, group_, {.sharding = Sharding::kState});
  for (int round = 0; round < 2; ++round) {
    reducer.zero();
    reducer.expect(true);
    at::Tensor place = empty_gradient(parameter);
    const void* const where = place.data_ptr();
    place = at::Tensor();
    EXPECT_NE(empty_gradient(parameter).data_ptr(), where);  // which is given once
    backward_of(parameter.sum() * 2);
    reducer.finish();
    EXPECT_TRUE(reducer.gradient(0).eq(2.0 * static_cast<double>(size_)).all().item<bool>());
  }
}

TEST_F(GradientReducerTest, APlaceThatIsStillHeldIsNotWrittenTo) {
  const at::Tensor parameter = at::ones({6}, at::kFloat).requires_grad_(true);
  GradientReducer reducer({parameter}, group_);
  reducer.zero();
  reducer.expect(true);
  const at::Tensor place = empty_gradient(parameter);
  EXPECT_THROW(backward_of(parameter.sum()), InternalError);
}

TEST_F(GradientReducerTest, OfAParameterIn16BitsAPlaceTakesSumsThatNobodyRounds) {
  const at::Tensor low = at::ones({2, 3}, at::kBFloat16).requires_grad_(true);
  const double fine = 1 + 1.0 / 1024;  // which 16 bits would make 1
  {
    GradientReducer reducer({low}, group_);
    for (int round = 0; round < 2; ++round) {
      reducer.zero();
      for (int m = 0; m < 3; ++m) {
        reducer.expect(m == 2);
        backward_of(Scaled::apply(low, fine, GradientWidth::kSummed));
        EXPECT_EQ(Scaled::written == reducer.gradient(0).data_ptr(), m == 0);
      }
      reducer.finish();
      EXPECT_TRUE(reducer.gradient(0).eq((fine + 2) * static_cast<double>(size_)).all().item<bool>())
          << "without a place it is rounded";
      reducer.zero();
      reducer.expect(true);
      const at::Tensor rounded = low.sum().to(at::kFloat) * 2;  // comes last in backward
      backward_of(rounded + Scaled::apply(low, fine, GradientWidth::kSummed));
      reducer.finish();
      EXPECT_TRUE(reducer.gradient(0).eq((fine + 2) * static_cast<double>(size_)).all().item<bool>());
    }
  }
  backward_of(low.sum());
  EXPECT_EQ(low.grad().scalar_type(), at::kBFloat16) << "nobody gathers";
}

TEST_F(GradientReducerTest, MemoryIsTakenByTheFirstGradientAndGivenBackBeforeTheNextRound) {
  constexpr int64_t kNumbers = 1 << 16, kBytes = 2 * kNumbers * int64_t{sizeof(float)};
  for (const Sharding sharding : {Sharding::kNone, Sharding::kState, Sharding::kGradients}) {
    const std::vector<at::Tensor> parameters = leaves({kNumbers, kNumbers}, at::kFloat);
    GradientReducer reducer(parameters, group_, {.bucket_bytes = 1, .sharding = sharding});
    PeakBytes bytes;
    for (int round = 0; round < 2; ++round) {
      reducer.zero();
      EXPECT_LE(bytes.now(), 0);
      reducer.expect(true);
      bytes.restart();
      backward_of(loss(parameters));
      reducer.end_micro_batch();
      EXPECT_GE(bytes.peak(), sharding == Sharding::kGradients ? kBytes / 2 : kBytes);
      reducer.finish();
      const int64_t left = sharding == Sharding::kNone ? kBytes : kBytes / size_;
      EXPECT_LT(std::abs(bytes.now() - left), kBytes / 8);
      for (size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_TRUE(reducer.gradient(i).eq(total_slope(i, 1)).all().item<bool>());
      }
    }
  }
}

TEST_F(GradientReducerTest, WithoutAPlaceItIsAnotherTensor) {
  const at::Tensor alone = at::ones({4}).requires_grad_(true), low = at::ones({4}, at::kBFloat16).requires_grad_(true);
  EXPECT_EQ(empty_gradient(alone).sizes(), alone.sizes());
  EXPECT_FALSE(empty_gradient(alone).requires_grad());
  GradientReducer reducer({low}, group_);
  reducer.zero();
  EXPECT_EQ(empty_gradient(low).scalar_type(), at::kBFloat16) << "its place is of float32";
  const at::Tensor shared = at::ones({6}, at::kFloat).requires_grad_(true);
  GradientReducer parts({shared}, group_, {.sharding = Sharding::kGradients});
  parts.zero();
  parts.expect(true);
  const at::Tensor there = empty_gradient(shared), another = empty_gradient(shared);
  EXPECT_NE(there.data_ptr(), another.data_ptr());
  backward_of(Scaled::apply(shared, 2));
  parts.end_micro_batch();
  parts.finish();
  EXPECT_TRUE(parts.gradient(0).eq(2.0 * static_cast<double>(size_)).all().item<bool>());
}

}  // namespace
}  // namespace parallel
