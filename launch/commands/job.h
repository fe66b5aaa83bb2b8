// defines: run_job, run_once: a command that runs on all ranks of an MPI job
#pragma once
#include <functional>
#include <memory>

#include "parallel/comm/mpi_communicator.h"

namespace launch {

/// Starts MPI (also for a process on its own), runs `body` on every rank and ends MPI. A UserError, which `body` must
/// throw on all ranks or none (all_ranks), is printed by the rank that met it and becomes kUserFault on all; any other
/// exception is this rank's fault: it is printed with rank and host and the whole job is aborted with exit code 2, so
/// that no rank is left waiting.
int run_job(const std::function<int(std::shared_ptr<parallel::MpiCommunicator> world)>& body);

/// Runs a command that has no use for ranks on the launcher's first one only.
void run_once(const std::function<void()>& body);

}  // namespace launch
