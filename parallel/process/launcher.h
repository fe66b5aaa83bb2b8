// defines: Launch, launch_facts, under_launcher, launcher_rank: what the environment says of mpirun or srun, before MPI
// starts
#pragma once
#include <cstdint>
#include <string>

namespace parallel {

/// What started this process, as its environment says. -1: not said.
struct Launch {
  std::string name = "none";  // "mpirun", "srun" (a step's task), "none"
  std::string job;            // of all processes that were started together; empty where unknown
  int64_t rank = -1;
  int64_t ranks = -1;
  int64_t host_ranks = -1;  // of them on this host
};
Launch launch_facts();

/// True where mpirun or `srun --mpi=pmix` started this process. (A Slurm batch script's own processes are not meant.)
bool under_launcher();

/// This process's rank as its launcher numbers it; 0 without one.
int64_t launcher_rank();

}  // namespace parallel
