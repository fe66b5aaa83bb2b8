// Every communicator faces these tests: the local one, all ranks over MPI, and what split and duplicate make of them,
// with agreement on every call and without.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "parallel/base/fault.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

struct GroupMaker {
  const char* name;
  std::shared_ptr<Communicator> (*make)();
};

class CollectivesTest : public testing::TestWithParam<GroupMaker> {
 protected:
  std::shared_ptr<Communicator> group_ = GetParam().make();
  int64_t rank_ = group_->rank(), size_ = group_->size();
};

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kLong};

/// Whole numbers, so that sums are exact in every type and order: element i of rank r is (r + 1) * (i mod 1000) - 500.
at::Tensor values_of(int64_t rank, int64_t elements, at::ScalarType type) {
  return (at::arange(elements, at::kLong).remainder(1000) * (rank + 1) - 500).to(type);
}

TEST_P(CollectivesTest, RankIsInsideSize) {
  EXPECT_GE(rank_, 0);
  EXPECT_LT(rank_, size_);
}

TEST_P(CollectivesTest, AllReduceSums) {
  for (const at::ScalarType type : kTypes) {
    at::Tensor tensor = values_of(rank_, 1537, type);
    group_->all_reduce(tensor, ReduceOp::kSum).wait();
    at::Tensor expected = at::zeros({1537}, type);
    for (int64_t r = 0; r < size_; ++r) expected += values_of(r, 1537, type);
    EXPECT_TRUE(tensor.equal(expected)) << type;
  }
}

TEST_P(CollectivesTest, AllReduceTakesTheLargest) {
  for (const at::ScalarType type : kTypes) {
    at::Tensor tensor = values_of(rank_, 1537, type) * (rank_ % 2 == 0 ? 1 : -1);
    group_->all_reduce(tensor, ReduceOp::kMax).wait();
    at::Tensor expected = values_of(0, 1537, type);
    for (int64_t r = 1; r < size_; ++r)
      expected = at::maximum(expected, values_of(r, 1537, type) * (r % 2 == 0 ? 1 : -1));
    EXPECT_TRUE(tensor.equal(expected)) << type;
  }
}

TEST_P(CollectivesTest, LargeWholeNumbersKeepEveryBit) {
  at::Tensor tensor = at::full({3}, (int64_t{1} << 60) + 1, at::kLong);
  group_->all_reduce(tensor, ReduceOp::kMax).wait();
  EXPECT_EQ(tensor[2].item<int64_t>(), (int64_t{1} << 60) + 1);
}

TEST_P(CollectivesTest, EmptyAndScalarTensorsTakePart) {
  for (const at::ScalarType type : kTypes) {
    at::Tensor none = at::empty({0, 4}, type);
    group_->all_reduce(none, ReduceOp::kSum).wait();
    at::Tensor scalar = at::ones({}, type);
    group_->all_reduce(scalar, ReduceOp::kSum).wait();
    EXPECT_EQ(scalar.item<double>(), static_cast<double>(size_));
    at::Tensor gathered = at::empty({size_, 0}, type);
    group_->all_gather(gathered, at::empty({0}, type)).wait();
    EXPECT_EQ(gathered.numel(), 0);
  }
}

TEST_P(CollectivesTest, SeveralMegabytesArriveWhole) {
  const int64_t elements = (int64_t{3} << 20) + 17;  // 12 MiB of float32
  at::Tensor tensor = values_of(rank_, elements, at::kFloat);
  group_->all_reduce(tensor, ReduceOp::kSum).wait();
  const double ranks = static_cast<double>(size_);
  const at::Tensor expected =
      (at::arange(elements, at::kLong).remainder(1000) * (size_ * (size_ + 1) / 2)).to(at::kFloat) - 500 * ranks;
  EXPECT_TRUE(tensor.equal(expected));
}

TEST_P(CollectivesTest, ReductionIsBitwiseTheSameOnEveryRankAndEveryTime) {
  const auto reduced = [&] {
    at::Tensor tensor = (values_of(rank_, 4099, at::kDouble) / 7).sin();
    group_->all_reduce(tensor, ReduceOp::kSum).wait();
    return tensor;
  };
  const at::Tensor first = reduced();
  EXPECT_TRUE(first.equal(reduced()));
  at::Tensor gathered = at::empty({size_, 4099}, at::kDouble);
  group_->all_gather(gathered, first).wait();
  for (int64_t r = 0; r < size_; ++r) EXPECT_TRUE(gathered[r].equal(first)) << r;
}

TEST_P(CollectivesTest, AllGatherPutsEveryRankInItsPlace) {
  for (const at::ScalarType type : kTypes) {
    at::Tensor gathered = at::zeros({size_, 5, 3}, type);
    group_->all_gather(gathered, values_of(rank_, 15, type).view({5, 3})).wait();
    for (int64_t r = 0; r < size_; ++r) EXPECT_TRUE(gathered[r].equal(values_of(r, 15, type).view({5, 3}))) << r;
  }
}

TEST_P(CollectivesTest, AllGatherOfAScalarPart) {
  at::Tensor gathered = at::zeros({size_}, at::kLong);
  group_->all_gather(gathered, at::full({}, rank_ * 10, at::kLong)).wait();
  EXPECT_TRUE(gathered.equal(at::arange(size_, at::kLong) * 10));
}

// A fault must not depend on the number of ranks: what MPI refuses, a group of one refuses too.
TEST_P(CollectivesTest, UnsupportedTypeIsTheLibrarysFault) {
  for (const at::ScalarType type : {at::kBFloat16, at::kInt, at::kBool}) {
    EXPECT_THROW(group_->all_reduce(at::zeros({4}, type), ReduceOp::kSum).wait(), InternalError) << type;
    EXPECT_THROW(group_->all_gather(at::zeros({size_, 4}, type), at::zeros({4}, type)).wait(), InternalError) << type;
  }
}

TEST_P(CollectivesTest, PlaceOfTheWrongShapeOrTypeIsTheLibrarysFault) {
  const auto gather = [&](at::IntArrayRef gathered, at::IntArrayRef part) {
    group_->all_gather(at::zeros(gathered, at::kFloat), at::zeros(part, at::kFloat)).wait();
  };
  EXPECT_THROW(gather({size_ + 1, 6}, {6}), InternalError);
  EXPECT_THROW(gather({size_, 7}, {6}), InternalError);
  EXPECT_THROW(gather({size_, 6}, {1}), InternalError);
  EXPECT_THROW(gather({size_ * 6}, {6}), InternalError);
  EXPECT_THROW(gather({size_, 2, 3}, {3, 2}), InternalError);
  EXPECT_THROW(group_->all_gather(at::zeros({size_, 6}, at::kDouble), at::zeros({6}, at::kFloat)).wait(),
               InternalError);
}

TEST_P(CollectivesTest, TensorThatIsNotContiguousIsTheLibrarysFault) {
  EXPECT_THROW(group_->all_reduce(at::zeros({4, 4}, at::kFloat).t(), ReduceOp::kSum).wait(), InternalError);
  EXPECT_THROW(group_->all_reduce(at::zeros({8}, at::kFloat).slice(0, 0, 8, 2), ReduceOp::kSum).wait(), InternalError);
}

TEST_P(CollectivesTest, ManyOutstandingOperationsWaitedOutOfOrder) {
  constexpr size_t kOperations = 60;
  std::vector<at::Tensor> tensors, gathered;
  std::vector<Work> works;
  for (size_t i = 0; i < kOperations; ++i) {
    tensors.push_back(values_of(rank_, 100 + 97 * static_cast<int64_t>(i), at::kDouble) + static_cast<double>(i));
    works.push_back(group_->all_reduce(tensors.back(), ReduceOp::kSum));
    gathered.push_back(at::zeros({size_, 1}, at::kLong));
    works.push_back(
        group_->all_gather(gathered.back(), at::full({1}, 1000 * rank_ + static_cast<int64_t>(i), at::kLong)));
  }
  // Another order on every rank: 37 has no common factor with 120.
  for (size_t n = 0; n < works.size(); ++n) works[(37 * n + 11 * static_cast<size_t>(rank_)) % works.size()].wait();
  for (size_t i = 0; i < kOperations; ++i) {
    const int64_t elements = tensors[i].numel();
    at::Tensor expected = at::zeros({elements}, at::kDouble);
    for (int64_t r = 0; r < size_; ++r) expected += values_of(r, elements, at::kDouble) + static_cast<double>(i);
    EXPECT_TRUE(tensors[i].equal(expected)) << i;
    EXPECT_TRUE(gathered[i].flatten().equal(at::arange(size_, at::kLong) * 1000 + static_cast<int64_t>(i))) << i;
  }
}

TEST_P(CollectivesTest, WaitingTwiceAndAnEmptyWorkDoNothing) {
  at::Tensor tensor = at::ones({3}, at::kLong);
  Work work = group_->all_reduce(tensor, ReduceOp::kSum);
  work.wait();
  work.wait();
  Work().wait();
  EXPECT_TRUE(tensor.equal(at::full({3}, size_, at::kLong)));
}

TEST_P(CollectivesTest, DroppedWorkIsComplete) {
  at::Tensor tensor = at::ones({1 << 20}, at::kDouble);
  { const Work dropped = group_->all_reduce(tensor, ReduceOp::kSum); }
  EXPECT_TRUE(tensor.equal(at::full({1 << 20}, static_cast<double>(size_), at::kDouble)));
}

TEST_P(CollectivesTest, AssigningOverAWorkWaitsForTheOldOne) {
  at::Tensor first = at::ones({1 << 20}, at::kDouble), second = at::ones({1}, at::kDouble);
  Work work = group_->all_reduce(first, ReduceOp::kSum);
  work = group_->all_reduce(second, ReduceOp::kSum);
  EXPECT_TRUE(first.equal(at::full({1 << 20}, static_cast<double>(size_), at::kDouble)));
  work.wait();
  EXPECT_EQ(second.item<double>(), static_cast<double>(size_));
}

TEST_P(CollectivesTest, WorkKeepsItsTensorsAlive) {
  at::Tensor gathered = at::zeros({size_, 1 << 16}, at::kLong);
  std::vector<Work> works;
  for (int i = 0; i < 4; ++i) works.push_back(group_->all_gather(gathered, at::full({1 << 16}, rank_, at::kLong)));
  const at::Tensor other = at::full({1 << 16}, -1, at::kLong);  // would take the parts' memory if they had died
  for (Work& work : works) work.wait();
  EXPECT_TRUE(gathered.equal(at::arange(size_, at::kLong).unsqueeze(1).expand({size_, 1 << 16})));
  EXPECT_EQ(other.max().item<int64_t>(), -1);
}

TEST_P(CollectivesTest, DuplicateHasTheSameRanksAndItsOwnOrder) {
  const std::shared_ptr<Communicator> other = group_->duplicate();
  EXPECT_EQ(other->rank(), rank_);
  EXPECT_EQ(other->size(), size_);
  at::Tensor here = at::ones({1000}, at::kDouble), there = at::full({1000}, 2.0, at::kDouble);
  // Even ranks issue on one first, odd ranks on the other: legal, because each traffic class is ordered apart.
  std::vector<Work> works;
  const auto issue_here = [&] { works.push_back(group_->all_reduce(here, ReduceOp::kSum)); };
  const auto issue_there = [&] { works.push_back(other->all_reduce(there, ReduceOp::kSum)); };
  rank_ % 2 == 0 ? (issue_here(), issue_there()) : (issue_there(), issue_here());
  for (Work& work : works) work.wait();
  EXPECT_TRUE(here.equal(at::full({1000}, 1.0 * static_cast<double>(size_), at::kDouble)));
  EXPECT_TRUE(there.equal(at::full({1000}, 2.0 * static_cast<double>(size_), at::kDouble)));
}

TEST_P(CollectivesTest, SplitGroupsByColorAndOrdersByKey) {
  const std::shared_ptr<Communicator> half = group_->split(rank_ % 2, -rank_);
  std::vector<int64_t> members;  // of this color, by falling rank
  for (int64_t r = size_ - 1; r >= 0; --r) {
    if (r % 2 == rank_ % 2) members.push_back(r);
  }
  ASSERT_EQ(half->size(), static_cast<int64_t>(members.size()));
  EXPECT_EQ(members[static_cast<size_t>(half->rank())], rank_);
  at::Tensor gathered = at::zeros({half->size()}, at::kLong);
  half->all_gather(gathered, at::full({}, rank_, at::kLong)).wait();
  EXPECT_TRUE(gathered.equal(at::tensor(members, at::kLong)));
  const std::shared_ptr<Communicator> same = group_->split(0, 7);
  EXPECT_EQ(same->rank(), rank_);  // equal keys: by rank
}

std::string group_name(const testing::TestParamInfo<GroupMaker>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(
    Groups, CollectivesTest,
    testing::Values(
        GroupMaker{"Local", [] { return std::shared_ptr<Communicator>(new LocalCommunicator); }},
        GroupMaker{"World", [] { return test_world(); }},
        GroupMaker{"Duplicate", [] { return test_world()->duplicate(); }},
        GroupMaker{"SplitInTwo", [] { return test_world()->split(test_world()->rank() % 2, 0); }},
        GroupMaker{"Backwards", [] { return test_world()->split(0, -test_world()->rank()); }},
        GroupMaker{"Unchecked", [] { return std::shared_ptr<Communicator>(test_mpi_world()); }},
        GroupMaker{"UncheckedDuplicate", [] { return test_mpi_world()->duplicate(); }},
        GroupMaker{"UncheckedSplitInTwo", [] { return test_mpi_world()->split(test_mpi_world()->rank() % 2, 0); }},
        GroupMaker{"UncheckedBackwards", [] { return test_mpi_world()->split(0, -test_mpi_world()->rank()); }}),
    group_name);

}  // namespace
}  // namespace parallel
