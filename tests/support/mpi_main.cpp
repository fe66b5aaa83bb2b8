// main() of the tests that run under mpirun: one MPI engine for all tests, the verdict reduced over the ranks. Where
// TESTS_APART names a suite: each of its tests in a process of its own, on one rank (apart.h).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "parallel/comm/checked_communicator.h"
#include "tests/support/apart.h"
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

int run_all() {
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

}  // namespace

std::shared_ptr<parallel::Communicator> test_world() { return checked_world; }
std::shared_ptr<parallel::MpiCommunicator> test_mpi_world() { return world; }

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* suite = std::getenv("TESTS_APART");
  if (suite == nullptr) return run_all();
  return run_apart(suite, run_all) > 0 ? 0 : 1;
}
