// defines: under_launcher, launcher_rank: what the environment says of mpirun or srun, before MPI starts
#pragma once
#include <cstdint>

namespace parallel {

/// True where mpirun or `srun --mpi=pmix` started this process. (A Slurm batch script's own processes are not meant.)
bool under_launcher();

/// This process's rank as its launcher numbers it; 0 without one.
int64_t launcher_rank();

}  // namespace parallel
