// defines: test_world: the ranks of a test that runs under mpirun
#pragma once
#include <memory>

#include "parallel/comm/mpi_communicator.h"

/// All ranks of the test's job; made by mpi_main.cpp before the first test.
std::shared_ptr<parallel::MpiCommunicator> test_world();
