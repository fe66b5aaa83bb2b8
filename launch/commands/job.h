// defines: run_job, under_launcher: a command that runs on all ranks of an MPI job
#pragma once
#include <functional>
#include <memory>

#include "parallel/comm/mpi_communicator.h"

namespace launch {

/// True where mpirun or srun started this process.
bool under_launcher();

/// Starts MPI (also for a process on its own), runs `body` on every rank and ends MPI. A UserError, which `body` must
/// throw on all ranks or none (all_ranks), leaves by the caller; any other exception is this rank's fault: it is
/// printed with rank and host and the whole job is aborted with exit code 2, so that no rank is left waiting.
int run_job(const std::function<int(std::shared_ptr<parallel::MpiCommunicator> world)>& body);

}  // namespace launch
