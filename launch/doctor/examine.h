// defines: examine_rank, gather_job: from this process, and from all of them
#pragma once
#include "launch/doctor/facts.h"
#include "parallel/comm/mpi_communicator.h"

namespace launch {

/// What this process sees of its host and of its own limits. Collective (it asks which ranks share a host).
RankFacts examine_rank(parallel::MpiCommunicator& world);

/// Everything but the links, on every rank. Collective.
JobFacts gather_job(parallel::MpiCommunicator& world);

}  // namespace launch
