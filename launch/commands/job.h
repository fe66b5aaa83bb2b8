// defines: run_job, run_once, JobStart: a command that runs on all ranks of an MPI job
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "parallel/comm/mpi_communicator.h"

namespace CLI {
class App;
}

namespace launch {

/// How the ranks of a command find each other.
struct JobStart {
  std::string command;  // its name; the ranks must agree on it
  double limit = 180;   // [s] for every rank to be there
};

/// The option --start-limit of a command that runs on all ranks.
void add_start_limit(CLI::App& command, double& limit);

/// Starts MPI (also for a process on its own), runs `body` on every rank and ends MPI. A UserError, which `body` must
/// throw on all ranks or none (all_ranks), is printed by the rank that met it and becomes kUserFault on all; any other
/// exception is this rank's fault: it is printed with rank and host and the whole job is aborted with exit code 2, so
/// that no rank is left waiting. Where not every rank is there within the limit, or they run different programs or
/// commands, one of them says who, and all end with kUserFault.
int run_job(const JobStart& start, const std::function<int(std::shared_ptr<parallel::MpiCommunicator> world)>& body);

/// Runs a command that has no use for ranks on the launcher's first one only.
void run_once(const std::function<void()>& body);

}  // namespace launch
