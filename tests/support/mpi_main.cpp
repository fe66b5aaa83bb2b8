// main() of the tests that run under mpirun: one MPI engine for all tests, the verdict reduced over the ranks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "parallel/comm/checked_communicator.h"
#include "tests/support/world.h"

namespace {

std::shared_ptr<parallel::MpiCommunicator> world;
std::shared_ptr<parallel::Communicator> checked_world;

/// Prints the failures of the ranks that have no printer of their own.
class RankListener : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed() || world->rank() == 0) return;
    std::fprintf(stderr, "rank %ld: %s:%d: %s\n", static_cast<long>(world->rank()), result.file_name(),
                 result.line_number(), result.message());
  }
};

}  // namespace

std::shared_ptr<parallel::Communicator> test_world() { return checked_world; }
std::shared_ptr<parallel::MpiCommunicator> test_mpi_world() { return world; }

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  parallel::MpiEngine engine;
  world = parallel::world_communicator(engine);
  checked_world = parallel::checked(world->duplicate(), "world");
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world->rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankListener);
  at::Tensor failed = at::full({1}, RUN_ALL_TESTS() != 0 ? 1.0 : 0.0, at::kDouble);
  world->all_reduce(failed, parallel::ReduceOp::kMax).wait();
  checked_world.reset();
  world.reset();
  return failed.item<double>() > 0 ? 1 : 0;
}
