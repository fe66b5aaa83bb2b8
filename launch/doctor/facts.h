// What the doctor knows of a job: plain values, so that a job can also be described by hand.
// defines: Interface, RankFacts, LinkFacts, JobFacts, Host, hosts_of
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launch/recipe/run_config.h"
#include "parallel/base/enum.h"
#include "parallel/links/link_probe.h"
#include "parallel/process/launcher.h"

namespace launch {

/// A network interface that is up, has an IPv4 address and is not the loopback.
struct Interface {
  std::string name, address;
  double bytes_per_second = 0;  // nominal; 0: the system does not say
  std::string network;          // "10.0.0.0/24": names the interface on every host, whatever it is called there
};

/// One rank, as its process sees it.
struct RankFacts {
  int64_t rank = 0;
  std::string host;
  int64_t host_leader = 0;     // the first rank of this host: two hosts may have one name
  std::vector<int64_t> cores;  // that this process may run on
  int64_t host_cores = 0;      // that the host has switched on (all three counted as hardware threads)
  int64_t threads_per_core = 1;
  double cgroup_cores = 0;                       // processor time that its cgroup may use, in cores; 0: no limit
  std::string omp_num_threads;                   // of the environment; empty: not set
  std::vector<std::string> gpus;                 // visible, by name
  double shared_memory_bytes = 0;                // free in /dev/shm
  std::vector<Interface> interfaces;             // fastest first
  bool has_fabric = false;                       // InfiniBand or the like
  std::map<std::string, std::string> transport;  // OMPI_MCA_*, UCX_*, NCCL_* and FI_* of the environment
  std::string mpi, torch;
  parallel::Launch launch;
};

/// One measured group of ranks.
struct LinkFacts {
  parallel::LinkKind kind = parallel::LinkKind::kInsideHost;
  parallel::Enum<Device> device = Device::kCpu;
  std::vector<int64_t> ranks;
  std::vector<parallel::Sample> samples;
  parallel::Line line;
};

struct JobFacts {
  std::vector<RankFacts> ranks;  // in order
  std::vector<LinkFacts> links;
  std::string build, cuda, nccl, hdf5;
  std::string mpi_interfaces;                    // Open MPI's btl_tcp_if_include as it is in force
  parallel::Enum<Device> device = Device::kCpu;  // asked for, as run.device
  int64_t threads = 1;                           // of a rank, as run.threads
};

/// The ranks of one host.
struct Host {
  std::vector<const RankFacts*> ranks;
  const RankFacts& first() const { return *ranks.front(); }
  /// A rank that may run on one core only.
  bool has_bound_rank() const;
  /// Cores that its ranks may use together: of their masks, and not more than their cgroup's time.
  int64_t usable_cores() const;
};
std::vector<Host> hosts_of(const JobFacts& job);

}  // namespace launch
