// Likewise between ranks: what NCCL would do wrong in silence where ranks differ, planted, and the sound way beside it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/figures/strict_walk.h"

namespace {

using parallel::Communicator;
using parallel::ReduceOp;
using parallel::Work;

/// Parts of 2, 1, 3, 5 ... rows: of three ranks the first has the mean.
parallel::RowCounts uneven_rows() {
  parallel::RowCounts rows;
  for (int64_t r = 0; r < ranks(); ++r) rows.push_back(r == 0 ? 2 : 2 * r - 1);
  return rows;
}
/// Numbers of a rank's row, and all ranks' rows in order.
at::Tensor rows_of(int64_t rank) {
  const int64_t count = uneven_rows()[static_cast<size_t>(rank)];
  return at::arange(count * 3, at::kFloat).view({count, 3}) + static_cast<double>(100 * rank);
}
at::Tensor all_rows() {
  std::vector<at::Tensor> all;
  for (int64_t r = 0; r < ranks(); ++r) all.push_back(rows_of(r));
  return at::cat(all);
}
TEST(Sound, UnevenRowsGathered) {
  const at::Tensor gathered = at::empty(all_rows().sizes(), floats());
  group()->all_gather_rows(gathered, parallel::send(rows_of(rank()), device()), uneven_rows(), {}).wait();
  EXPECT_TRUE(at::equal(gathered.to(at::kCPU), all_rows()));
}
TEST(Sound, UnevenRowsSummed) {
  const at::Tensor part = at::empty(rows_of(rank()).sizes(), floats());
  group()->reduce_scatter_rows(part, parallel::send(all_rows(), device()), uneven_rows()).wait();
  EXPECT_TRUE(at::equal(part.to(at::kCPU), rows_of(rank()) * static_cast<double>(ranks())));
}
TEST(Sound, UnevenRowsExchanged) {
  const int64_t own = rank(), all = ranks();
  parallel::RowCounts received(static_cast<size_t>(all)),
      sent(static_cast<size_t>(all));  // rank a sends a + b rows to b
  for (int64_t r = 0; r < all; ++r) sent[static_cast<size_t>(r)] = received[static_cast<size_t>(r)] = own + r;
  const int64_t rows = all * own + all * (all - 1) / 2;
  const at::Tensor arrived = at::empty({rows, 3}, floats());
  group()->all_to_all(arrived, at::full({rows, 3}, static_cast<double>(own), floats()), received, sent, {}).wait();
  const at::Tensor host = arrived.to(at::kCPU);
  int64_t begin = 0;
  for (int64_t r = 0; r < all; begin += own + r, ++r) {
    EXPECT_TRUE((host.narrow(0, begin, own + r) == static_cast<double>(r)).all().item<bool>());
  }
}

TEST(PlantedOnRanks, TheHostsMemoryOnTheWire) { group()->all_reduce(at::ones({16}), ReduceOp::kSum).wait(); }
TEST(PlantedOnRanks, OtherCounts) { group()->all_reduce(ones(16 + rank()), ReduceOp::kSum).wait(); }
TEST(PlantedOnRanks, OtherOperations) {
  group()->all_reduce(ones(), rank() == 0 ? ReduceOp::kSum : ReduceOp::kMax).wait();
}
TEST(PlantedOnRanks, AnotherOrderInOneGroup) {
  const at::Tensor sum = ones(16), all = at::empty({ranks(), 16}, floats());
  Work first, second;
  if (rank() == 0) {
    first = group()->all_reduce(sum, ReduceOp::kSum);
    second = group()->all_gather(all, ones(16));
  } else {
    second = group()->all_gather(all, ones(16));
    first = group()->all_reduce(sum, ReduceOp::kSum);
  }
  first.wait();
  second.wait();
}
TEST(PlantedOnRanks, RowsThatNobodyAwaits) {
  const int64_t sends = rank() == 0 ? 5 : 4;
  const parallel::RowCounts out(static_cast<size_t>(ranks()), sends), in(static_cast<size_t>(ranks()), 4);
  group()->all_to_all(at::empty({4 * ranks(), 8}, floats()), at::ones({sends * ranks(), 8}, floats()), in, out).wait();
}
TEST(PlantedOnRanks, ASplitBesideWork) {
  const Work work = group()->all_reduce(ones(), ReduceOp::kSum);
  group()->duplicate();
}

/// Both ways of ending a communicator may wait for the other ranks, which do not end theirs: an error is to be told
/// first.
TEST(Sound, ARankThatFailsEndsWithoutTheOthers) {
  std::shared_ptr<Communicator> own = parallel::accelerator_communicator(*test_mpi_world(), device());
  if (rank() > 0) {
    new std::shared_ptr<Communicator>(std::move(own));  // never ended
    return;
  }
  try {
    const std::shared_ptr<Communicator> held = std::move(own);
    throw std::runtime_error("a rank's own fault");
  } catch (const std::runtime_error& fault) {
    EXPECT_STREQ(fault.what(), "a rank's own fault");
  }
}

}  // namespace
