#include "parallel/process/launcher.h"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

namespace parallel {
namespace {

const char* first_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const char* text = std::getenv(name)) return text;
  }
  return nullptr;
}

int64_t number(std::initializer_list<const char*> names) {
  const char* text = first_set(names);
  return text != nullptr ? std::atoll(text) : -1;
}

const char* launcher_rank_text() { return first_set({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}); }

/// SLURM_GTIDS lists the step's tasks on this host: "0,1,2".
int64_t slurm_host_tasks() {
  const char* tasks = std::getenv("SLURM_GTIDS");
  if (tasks == nullptr) return -1;
  const std::string text = tasks;
  return 1 + std::count(text.begin(), text.end(), ',');
}

}  // namespace

Launch launch_facts() {
  Launch launch;
  if (const char* job = first_set({"PMIX_NAMESPACE", "PMI_JOBID"})) launch.job = job;
  // Only srun sets the number of its step's tasks; a batch script's own processes have SLURM_NTASKS too.
  if (std::getenv("OMPI_COMM_WORLD_RANK") == nullptr && std::getenv("SLURM_STEP_NUM_TASKS") != nullptr) {
    launch.name = "srun";
    launch.rank = number({"PMIX_RANK", "PMI_RANK", "SLURM_PROCID"});
    launch.ranks = number({"SLURM_STEP_NUM_TASKS"});
    launch.host_ranks = slurm_host_tasks();
  } else if (launcher_rank_text() != nullptr) {
    launch.name = "mpirun";
    launch.rank = launcher_rank();
    launch.ranks = number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"});
    launch.host_ranks = number({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"});
  }
  return launch;
}

bool under_launcher() { return launcher_rank_text() != nullptr; }

int64_t launcher_rank() {
  const char* text = launcher_rank_text();
  return text != nullptr ? std::atoll(text) : 0;
}

}  // namespace parallel
