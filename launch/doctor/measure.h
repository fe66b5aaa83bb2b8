// defines: measure_links
#pragma once
#include <c10/core/Device.h>

#include <functional>
#include <string>
#include <vector>

#include "launch/doctor/facts.h"
#include "parallel/comm/mpi_communicator.h"

namespace launch {

/// Latency and bandwidth of the links that plan_links chooses, on every rank; of CUDA tensors too where `device` is a
/// GPU. Some seconds. `starts(kind)` is called on every rank before each part. Collective.
std::vector<LinkFacts> measure_links(parallel::MpiCommunicator& world, const JobFacts& job, at::Device device,
                                     const std::function<void(const std::string&)>& starts);

}  // namespace launch
