#include "launch/commands/job.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "launch/commands/commands.h"
#include "launch/commands/options/number_option.h"
#include "launch/ranks/same_start.h"
#include "launch/runs/build_id.h"
#include "parallel/base/fault.h"
#include "parallel/base/printable.h"
#include "parallel/comm/agreement.h"
#include "parallel/process/launcher.h"
#include "parallel/process/start_watch.h"

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

void add_start_limit(CLI::App& command, double& limit) {
  command
      .add_option("--start-limit", limit, "seconds until every rank must have started; then the missing ones are named")
      ->capture_default_str()
      ->check(number_between(1, 86400));
}

int run_job(const JobStart& start, const std::function<int(std::shared_ptr<parallel::MpiCommunicator> world)>& body) {
  auto watch = std::make_unique<parallel::StartWatch>(start.limit, kUserFault);
  parallel::MpiEngine engine;
  watch->mpi_initialized();
  auto world = parallel::world_communicator(engine);
  const long rank = world->rank();
  int exit_code = kInternalFault;
  try {
    require_same(*world, {{"program", build_id()}, {"command", start.command}});
    watch.reset();
    exit_code = body(std::move(world));
  } catch (const parallel::ReportedElsewhere&) {
    exit_code = kUserFault;
  } catch (const parallel::UserError& error) {
    std::fprintf(stderr, "moetrain: %s\n", parallel::printable(error.what()).c_str());
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
