#include "parallel/dispatch/rows_per_expert.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "parallel/base/fault.h"
#include "parallel/dispatch/permutation.h"

namespace parallel {
namespace {

using Numbers = std::vector<int64_t>;

TEST(RowsPerExpert, ToldByTheHostOrReadFromEndsIsTheSame) {
  const Numbers numbers{3, 0, 5};
  const RowsPerExpert told(numbers), read(at::tensor({3, 3, 8}, at::kInt), 11);
  EXPECT_TRUE(told.known());
  EXPECT_FALSE(read.known());
  EXPECT_EQ(told.rows(), 8);
  EXPECT_EQ(read.rows(), 11);  // some may be nobody's
  const RowsPerExpert copy = read;
  for (const RowsPerExpert& each : {told, read}) {
    EXPECT_EQ(each.experts(), 3);
    EXPECT_TRUE(each.ends(at::kCPU).equal(at::tensor({3, 3, 8}, at::kInt)));
    EXPECT_EQ(each.times(4).on_host(), (Numbers{12, 0, 20}));
    EXPECT_EQ(each.on_host(), numbers);
  }
  EXPECT_TRUE(copy.known());  // what one has learned the other knows
  EXPECT_EQ(read.times(4).rows(), 44);
  EXPECT_EQ(RowsPerExpert().experts(), 0);
  EXPECT_THROW(RowsPerExpert(at::tensor({3, 3, 8}, at::kLong), 8), InternalError);
  const int64_t many = std::numeric_limits<int32_t>::max();
  EXPECT_THROW(RowsPerExpert(Numbers{many, 1}).ends(at::kCPU), InternalError);
}

/// As a device has it whose host does not know how many choices were dropped: each of these has a row at the end.
Permutation with_idle_rows(const at::Tensor& expert_TK, int64_t experts) {
  Permutation idle = sort_by_expert(expert_TK, experts);
  const int64_t choices = expert_TK.numel(), kept = idle.rows();
  const at::Tensor dropped = (expert_TK.flatten() == Assignment::kDropped).nonzero().squeeze(1);
  idle.slot_R = at::cat({idle.slot_R, dropped});
  idle.token_R = at::floor_divide(idle.slot_R, expert_TK.size(1));
  idle.row_TK = at::where(idle.row_TK == kept, choices, idle.row_TK);
  idle.has_idle_rows = true;
  return idle;
}

TEST(IdleRows, AreDeafToWhatTheyHold) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor choices = at::tensor({2, 0, 0, -1, -1, -1, 1, 2, -1, 3, 0, 2, 3, 1}, at::kLong).view({7, 2});
  const Permutation exact = sort_by_expert(choices, 4), idle = with_idle_rows(choices, 4);
  const int64_t kept = exact.rows(), all = idle.rows();
  ASSERT_EQ(kept, 10);
  ASSERT_EQ(all, 14);
  // float16, for which LibTorch's operations are taken, as on a device.
  const at::TensorOptions halves = at::TensorOptions(at::kHalf);
  const at::Tensor rows_RD = at::arange(all * 3, halves).view({all, 3}) / 8;
  const at::Tensor weight_TK = at::arange(14, halves).view({7, 2}) / 4 - 1,
                   grad_TD = at::arange(21, halves).view({7, 3});
  const at::Tensor own_RD = rows_RD.narrow(0, 0, kept);
  rows_RD.narrow(0, kept, all - kept).fill_(kNan);
  EXPECT_TRUE(combine_rows(rows_RD, weight_TK, idle).equal(combine_rows(own_RD, weight_TK, exact)));
  EXPECT_TRUE(combine_rows(rows_RD, {}, idle).equal(combine_rows(own_RD, {}, exact)));
  EXPECT_TRUE(rows_to(rows_RD, {}, RowOf::kChoice, idle).equal(rows_to(own_RD, {}, RowOf::kChoice, exact)));
  const CombineGradients got = combine_rows_backward(grad_TD, rows_RD, weight_TK, idle);
  const CombineGradients expected = combine_rows_backward(grad_TD, own_RD, weight_TK, exact);
  EXPECT_TRUE(got.weight_TK.equal(expected.weight_TK));
  EXPECT_TRUE(got.rows_RD.narrow(0, 0, kept).equal(expected.rows_RD));
  EXPECT_TRUE(gather_rows(grad_TD, idle).narrow(0, 0, kept).equal(gather_rows(grad_TD, exact)));
}

}  // namespace
}  // namespace parallel
