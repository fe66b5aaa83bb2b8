#include "launch/commands/job.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "launch/commands/commands.h"
#include "parallel/base/fault.h"
#include "parallel/comm/agreement.h"
#include "parallel/process/launcher.h"

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

int run_job(const std::function<int(std::shared_ptr<parallel::MpiCommunicator> world)>& body) {
  parallel::MpiEngine engine;
  auto world = parallel::world_communicator(engine);
  const long rank = world->rank();
  int exit_code = kInternalFault;
  try {
    exit_code = body(std::move(world));
  } catch (const parallel::ReportedElsewhere&) {
    exit_code = kUserFault;
  } catch (const parallel::UserError& error) {
    std::fprintf(stderr, "moetrain: %s\n", error.what());
    exit_code = kUserFault;
  } catch (const c10::Error& error) {
    abort_with(rank, error.what_without_backtrace());
  } catch (const std::exception& error) {
    abort_with(rank, error.what());
  }
  return exit_code;
}

void run_once(const std::function<void()>& body) {
  if (parallel::launcher_rank() == 0) body();
}

}  // namespace launch
