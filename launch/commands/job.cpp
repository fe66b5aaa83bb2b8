#include "launch/commands/job.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "launch/commands/commands.h"
#include "parallel/base/fault.h"

namespace launch {
namespace {

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

bool under_launcher() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr ||
         std::getenv("SLURM_PROCID") != nullptr;
}

int run_job(const std::function<int(std::shared_ptr<parallel::MpiCommunicator> world)>& body) {
  parallel::MpiEngine engine;
  auto world = parallel::world_communicator(engine);
  const long rank = world->rank();
  std::exception_ptr users_fault;
  int exit_code = kInternalFault;
  try {
    exit_code = body(std::move(world));
  } catch (const parallel::UserError&) {
    users_fault = std::current_exception();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moetrain: internal fault on rank %ld (%s): %s\n", rank, host_name().c_str(), error.what());
    std::fflush(nullptr);
    parallel::MpiEngine::abort_job(kInternalFault);
  }
  if (users_fault) std::rethrow_exception(users_fault);
  return exit_code;
}

}  // namespace launch
