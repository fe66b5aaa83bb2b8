#include "parallel/comm/counting_communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/comm/checked_communicator.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

using ByOperation = std::map<std::string, Traffic>;

class Counting : public testing::Test {
 protected:
  const std::shared_ptr<TrafficLedger> ledger_ = std::make_shared<TrafficLedger>();
  const std::shared_ptr<Communicator> group_ =
      std::make_shared<CountingCommunicator>(test_world()->duplicate(), "some", ledger_);
  const int64_t ranks_ = group_->size(), rank_ = group_->rank();
  /// Nothing where there are no others.
  int64_t shared(int64_t bytes) const { return ranks_ > 1 ? bytes : 0; }
};

TEST_F(Counting, PayloadIsWhatIsHandedInForOthers) {
  const RowCounts rows(static_cast<size_t>(ranks_), 2);
  group_->all_reduce(at::ones({5}, at::kFloat), ReduceOp::kSum).wait();
  group_->all_reduce(at::ones({1}, at::kDouble), ReduceOp::kMax).wait();
  group_->all_gather(at::empty({ranks_, 3}, at::kLong), at::ones({3}, at::kLong)).wait();
  group_->all_to_all(at::empty({2 * ranks_, 7}, at::kFloat), at::ones({2 * ranks_, 7}, at::kFloat), rows, rows).wait();
  group_->all_gather_rows(at::empty({2 * ranks_, 3}, at::kFloat), at::ones({2, 3}, at::kFloat), rows).wait();
  group_->reduce_scatter_rows(at::empty({2}, at::kDouble), at::ones({2 * ranks_}, at::kDouble), rows).wait();
  const int64_t others = ranks_ - 1;
  EXPECT_EQ(ledger_->by_operation("some"), (ByOperation{{"all_reduce", {2, shared(5 * 4 + 8)}},
                                                        {"all_gather", {1, shared(3 * 8)}},
                                                        {"all_to_all", {1, others * 2 * 7 * 4}},
                                                        {"all_gather_rows", {1, shared(2 * 3 * 4)}},
                                                        {"reduce_scatter_rows", {1, others * 2 * 8}}}));
  EXPECT_EQ(ledger_->by_axis().at("some"),
            (Traffic{6, shared(5 * 4 + 8 + 3 * 8 + 2 * 3 * 4) + others * (2 * 7 * 4 + 2 * 8)}));
  ledger_->reset();
  EXPECT_TRUE(ledger_->by_axis().empty());
  EXPECT_TRUE(ledger_->by_operation("some").empty());
}

TEST_F(Counting, ResultsAreThoseBelow) {
  at::Tensor sum = at::full({2}, static_cast<double>(rank_ + 1), at::kDouble);
  group_->all_reduce(sum, ReduceOp::kSum).wait();
  EXPECT_EQ(sum[0].item<double>(), static_cast<double>(ranks_ * (ranks_ + 1) / 2));
}

TEST_F(Counting, CopiesAndPartsCountUnderTheSameAxisUntilNamed) {
  const auto reduce = [](Communicator& group) { group.all_reduce(at::ones({1}, at::kFloat), ReduceOp::kSum).wait(); };
  reduce(*group_->duplicate());
  reduce(*counted_as("copy", group_->duplicate()));
  const auto alone = counted_as("part", group_->split(rank_, 0));
  EXPECT_EQ(alone->size(), 1);
  reduce(*alone);
  EXPECT_EQ(ledger_->by_axis(),
            (std::map<std::string, Traffic>{{"some", {1, shared(4)}}, {"copy", {1, shared(4)}}, {"part", {1, 0}}}));
}

TEST_F(Counting, UncountedStaysUncountedAndUnwrappedIsBelowCountsAndChecks) {
  const auto plain = test_mpi_world()->duplicate();
  EXPECT_EQ(counted_as("some", plain), plain);
  const auto checks = checked(plain, "tokens");
  CountingCommunicator bare(plain, "some", ledger_);
  EXPECT_EQ(&unwrapped(bare), plain.get());
  CountingCommunicator both(checks, "some", ledger_);
  EXPECT_EQ(&unwrapped(both), plain.get());
}

}  // namespace
}  // namespace parallel
