#include "launch/commands/job.h"

#include <unistd.h>

#include <c10/util/Exception.h>

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

[[noreturn]] void abort_with(long rank, const char* what) {
  std::fprintf(stderr, "moetrain: internal fault on rank %ld (%s): %s\n", rank, host_name().c_str(), what);
  std::fflush(nullptr);
  parallel::MpiEngine::abort_job(kInternalFault);
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
  } catch (const c10::Error& error) {
    abort_with(rank, error.what_without_backtrace());
  } catch (const std::exception& error) {
    abort_with(rank, error.what());
  }
  if (users_fault) std::rethrow_exception(users_fault);
  return exit_code;
}

}  // namespace launch
