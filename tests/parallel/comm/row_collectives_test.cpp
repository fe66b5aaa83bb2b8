// Collectives whose parts differ in length.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/base/fault.h"
#include "parallel/comm/checked_communicator.h"
#include "parallel/comm/local_communicator.h"
#include "tests/support/world.h"

namespace parallel {
namespace {

/// Row i of what rank `from` says to rank `to`.
double said(int64_t from, int64_t to, int64_t i) { return static_cast<double>(10000 * from + 100 * to + i); }

/// Some of them zero, and not symmetric.
int64_t rows_between(int64_t from, int64_t to) { return (3 * from + 2 * to) % 4; }

at::Tensor filled(const std::vector<double>& first_column, at::ScalarType type) {
  return at::tensor(first_column, at::kDouble).unsqueeze(1).expand({-1, 3}).to(type).contiguous();
}

class RowCollectives : public testing::Test {
 protected:
  std::shared_ptr<Communicator> world_ = test_world();
  const int64_t rank_ = world_->rank(), ranks_ = world_->size();
};

TEST_F(RowCollectives, AllToAllBringsEachRankWhatItWasSent) {
  RowCounts sent, received;
  std::vector<double> out, expected;
  for (int64_t r = 0; r < ranks_; ++r) {
    sent.push_back(rows_between(rank_, r));
    received.push_back(rows_between(r, rank_));
    for (int64_t i = 0; i < sent.back(); ++i) out.push_back(said(rank_, r, i));
    for (int64_t i = 0; i < received.back(); ++i) expected.push_back(said(r, rank_, i));
  }
  for (const auto type : {at::kFloat, at::kDouble, at::kLong}) {
    at::Tensor got = at::full({static_cast<int64_t>(expected.size()), 3}, -1, type);
    world_->all_to_all(got, filled(out, type), received, sent).wait();
    EXPECT_TRUE(got.equal(filled(expected, type))) << type;
  }
  at::Tensor low = at::zeros({static_cast<int64_t>(expected.size()), 3}, at::kBFloat16);
  world_->all_to_all(low, filled(out, at::kBFloat16), received, sent).wait();
  EXPECT_TRUE(low.equal(filled(expected, at::kBFloat16)));
}

TEST_F(RowCollectives, AllGatherRowsPutsPartsInTheOrderOfRanks) {
  RowCounts rows;
  std::vector<double> own, all;
  for (int64_t r = 0; r < ranks_; ++r) {
    rows.push_back((r + 2) % 3);
    for (int64_t i = 0; i < rows.back(); ++i) all.push_back(said(r, 0, i));
  }
  for (int64_t i = 0; i < rows[static_cast<size_t>(rank_)]; ++i) own.push_back(said(rank_, 0, i));
  at::Tensor got = at::zeros({static_cast<int64_t>(all.size()), 3}, at::kDouble);
  world_->all_gather_rows(got, filled(own, at::kDouble), rows).wait();
  EXPECT_TRUE(got.equal(filled(all, at::kDouble)));
}

TEST_F(RowCollectives, ReduceScatterRowsGivesEachRankItsRowsOfTheSum) {
  RowCounts rows;
  int64_t total = 0, before = 0;
  for (int64_t r = 0; r < ranks_; ++r) {
    rows.push_back((r + 2) % 3);
    if (r < rank_) before += rows.back();
    total += rows.back();
  }
  const at::Tensor base = at::arange(total * 3, at::kDouble).view({total, 3});
  at::Tensor part = at::zeros({rows[static_cast<size_t>(rank_)], 3}, at::kDouble);
  world_->reduce_scatter_rows(part, base * static_cast<double>(rank_ + 1), rows).wait();
  const double sum = static_cast<double>(ranks_ * (ranks_ + 1) / 2);
  EXPECT_TRUE(part.equal(base.narrow(0, before, part.size(0)) * sum));
}

TEST_F(RowCollectives, RefuseWhatDoesNotFit) {
  const RowCounts ones(static_cast<size_t>(ranks_), 1);
  const at::Tensor fits = at::zeros({ranks_, 3}), narrow = at::zeros({ranks_, 2}), part = at::zeros({1, 3});
  EXPECT_THROW((void)world_->all_to_all(fits, narrow, ones, ones), InternalError);
  EXPECT_THROW((void)world_->all_to_all(fits, at::zeros({ranks_ + 1, 3}), ones, ones), InternalError);
  EXPECT_THROW((void)world_->all_gather_rows(fits, at::zeros({2, 3}), ones), InternalError);
  EXPECT_THROW((void)world_->all_gather_rows(fits, part, RowCounts(static_cast<size_t>(ranks_ + 1), 1)), InternalError);
  EXPECT_THROW((void)world_->reduce_scatter_rows(part.to(at::kBFloat16), fits.to(at::kBFloat16), ones), InternalError);
}

TEST_F(RowCollectives, RowsThatNobodyWaitsForAreNamed) {
  if (ranks_ == 1) return;                   // alone nothing can disagree
  for (const int64_t few_ranks : {32, 1}) {  // told with the call, and after it
    CheckedCommunicator own(test_mpi_world()->duplicate(), test_mpi_world()->duplicate(), "rows", few_ranks);
    Communicator& group = own;
    RowCounts sent(static_cast<size_t>(ranks_), 1), received = sent;
    at::Tensor right = at::zeros({ranks_, 1});
    group.all_to_all(right, at::full({ranks_, 1}, static_cast<double>(rank_), at::kFloat), received, sent).wait();
    EXPECT_TRUE(right.flatten().equal(at::arange(ranks_, at::kFloat)));
    if (rank_ == 1) sent[0] = 2;
    at::Tensor out = at::zeros({ranks_ + (rank_ == 1 ? 1 : 0), 3}), in = at::zeros({ranks_, 3});
    try {
      group.all_to_all(in, out, received, sent).wait();
      FAIL() << "no disagreement was found";
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find("rank 1 sends 2 rows to rank 0, which waits for 1"), std::string::npos)
          << error.what();
    }
  }
}

TEST_F(RowCollectives, DifferentRowCountsAreNamed) {
  if (ranks_ == 1) return;
  const auto group = checked(test_mpi_world()->duplicate(), "rows");
  RowCounts rows(static_cast<size_t>(ranks_), 1);
  if (rank_ == 1) rows[0] = 2;
  at::Tensor gathered = at::zeros({ranks_ + (rank_ == 1 ? 1 : 0), 3});
  try {
    group->all_gather_rows(gathered, at::zeros({1, 3}), rows).wait();
    FAIL() << "no disagreement was found";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("rank 1 called all_gather_rows float32 [*, 3] of 2, 1"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace parallel
