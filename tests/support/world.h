// defines: test_world, test_mpi_world: the ranks of a test that runs under mpirun
#pragma once
#include <memory>

#include "parallel/comm/mpi_communicator.h"

/// All ranks of the test's job, every collective checked (parallel/comm/checked_communicator.h); made by mpi_main.cpp
/// before the first test.
std::shared_ptr<parallel::Communicator> test_world();

/// The same ranks without checks, ordered apart: for tests of MPI itself and for what makes its own groups.
std::shared_ptr<parallel::MpiCommunicator> test_mpi_world();
