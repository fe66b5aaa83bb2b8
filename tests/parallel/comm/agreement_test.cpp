#include "parallel/comm/agreement.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "parallel/comm/local_communicator.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

/// What all_ranks() ends with on this rank where the ranks of `guilty` commit a fault.
std::string outcome(Communicator& group, const std::set<int64_t>& guilty) {
  try {
    all_ranks(group, [&] {
      if (guilty.contains(group.rank())) user_error("fault of rank ", group.rank());
    });
  } catch (const ReportedElsewhere&) {
    return "reported elsewhere";
  } catch (const UserError& error) {
    return error.what();
  }
  return "done";
}

/// The first guilty rank tells its fault, all others end silently, and the group is usable afterwards.
void expect_one_report(Communicator& group, const std::set<int64_t>& guilty) {
  const bool first = group.rank() == *guilty.begin();
  EXPECT_EQ(outcome(group, guilty), first ? concat("fault of rank ", group.rank()) : "reported elsewhere");
  at::Tensor one = at::ones({1}, at::kLong);
  group.all_reduce(one, ReduceOp::kSum).wait();
  EXPECT_EQ(one.item<int64_t>(), group.size());
}

TEST(AllRanks, NoFaultLeavesEveryRankGoingOn) {
  EXPECT_EQ(outcome(*test_world(), {}), "done");
  LocalCommunicator alone;
  EXPECT_EQ(outcome(alone, {}), "done");
}

TEST(AllRanks, OneFaultEndsEveryRankAndIsToldOnce) {
  for (int64_t guilty = 0; guilty < test_world()->size(); ++guilty) expect_one_report(*test_world(), {guilty});
}

TEST(AllRanks, OfSeveralFaultsTheFirstRanksIsTold) {
  std::set<int64_t> all, last_two;
  for (int64_t r = 0; r < test_world()->size(); ++r) all.insert(r);
  for (int64_t r = std::max<int64_t>(0, test_world()->size() - 2); r < test_world()->size(); ++r) last_two.insert(r);
  expect_one_report(*test_world(), all);
  expect_one_report(*test_world(), last_two);
}

TEST(AllRanks, GroupOfOneTellsItsOwnFault) {
  LocalCommunicator alone;
  expect_one_report(alone, {0});
}

TEST(AllRanks, RunsTheActionOnceOnEveryRank) {
  int64_t calls = 0;
  all_ranks(*test_world(), [&] { ++calls; });
  at::Tensor total = at::full({1}, calls, at::kLong);
  test_world()->all_reduce(total, ReduceOp::kSum).wait();
  EXPECT_EQ(total.item<int64_t>(), test_world()->size());
}

TEST(AllRanks, LibrarysFaultIsNotSwallowed) {
  // On every rank, so that nobody is left inside the agreement.
  EXPECT_THROW(all_ranks(*test_world(), [] { check_internal(false, "broken"); }), InternalError);
}

}  // namespace
}  // namespace parallel
