#include "launch/doctor/warnings.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>

#include "parallel/base/fault.h"

namespace launch {
namespace {

using parallel::concat;
using Level = Warning::Level;

constexpr double kMebibyte = 1024.0 * 1024.0;

bool is_set(const RankFacts& rank, const std::string& variable) {
  const auto found = rank.transport.find(variable);
  return found != rank.transport.end() && !found->second.empty();
}

bool is_on(const RankFacts& rank, const std::string& variable) {
  return is_set(rank, variable) && rank.transport.at(variable) != "0";
}

/// "host a", "host a and 3 more"
std::string names(const std::vector<Host>& hosts) {
  return concat("host ", hosts.front().first().host,
                hosts.size() > 1 ? concat(" and ", hosts.size() - 1, " more") : "");
}

std::vector<Host> those(const std::vector<Host>& hosts, const std::function<bool(const Host&)>& trapped) {
  std::vector<Host> found;
  std::copy_if(hosts.begin(), hosts.end(), std::back_inserter(found), trapped);
  return found;
}

int64_t count(const Host& host) { return static_cast<int64_t>(host.ranks.size()); }

bool too_many_ranks(const Host& host) { return count(host) > host.usable_cores(); }

void launcher_traps(const JobFacts& job, std::vector<Warning>& found) {
  const RankFacts& first = job.ranks.front();
  const auto ranks = static_cast<int64_t>(job.ranks.size());
  if (first.launch.ranks > 1 && first.launch.ranks != ranks) {
    found.push_back({"launcher", Level::kFatal,
                     concat(first.launch.name, " started ", first.launch.ranks, " processes, but MPI joins ", ranks,
                            ": each would train on its own"),
                     first.launch.name == "srun" ? "srun --mpi=pmix (launch/run does so)"
                                                 : "the mpirun of the MPI that moetrain was built with"});
  }
  std::set<std::string> mpi, torch;
  for (const RankFacts& rank : job.ranks) {
    mpi.insert(rank.mpi);
    torch.insert(rank.torch);
  }
  for (const auto& [what, versions] : {std::pair{"MPI", mpi}, std::pair{"LibTorch", torch}}) {
    if (versions.size() < 2) continue;
    found.push_back(
        {"versions", Level::kFatal,
         concat("the ranks load different versions of ", what, ": ", *versions.begin(), ", ", *versions.rbegin()),
         "the same modules and LD_LIBRARY_PATH on every host"});
  }
}

void core_traps(const JobFacts& job, const std::vector<Host>& hosts, std::vector<Warning>& found) {
  const auto one_core = those(hosts, [](const Host& host) {
    return count(host) > 1 && host.usable_cores() == 1 && host.first().host_cores > 1 && host.first().cores.size() == 1;
  });
  if (!one_core.empty()) {
    const Host& host = one_core.front();
    found.push_back({"one_core_for_all", Level::kSlow,
                     concat("all ", count(host), " ranks of ", names(one_core), " are bound to core ",
                            host.first().cores.front(), " of ", host.first().host_cores),
                     "mpirun --bind-to none, or --map-by slot:PE=THREADS; under Slurm --cpus-per-task=THREADS"});
  }
  const auto crowded =
      those(hosts, [](const Host& host) { return too_many_ranks(host) && host.first().cores.size() > 1; });
  if (!crowded.empty()) {
    const Host& host = crowded.front();
    found.push_back({"oversubscribed_ranks", Level::kSlow,
                     concat(names(crowded), ": ", count(host), " ranks on ", host.usable_cores(), " usable cores"),
                     concat("at most ", host.usable_cores(), " ranks on such a host (mpirun -n, --ntasks-per-node)")});
  }
  const auto threads = those(hosts, [&](const Host& host) {
    return !too_many_ranks(host) && count(host) * job.threads > host.usable_cores();
  });
  if (!threads.empty()) {
    const Host& host = threads.front();
    found.push_back({"oversubscribed_threads", Level::kSlow,
                     concat(names(threads), ": ", count(host), " ranks of ", job.threads, " threads on ",
                            host.usable_cores(), " usable cores"),
                     concat("--set run.threads=", std::max<int64_t>(1, host.usable_cores() / count(host)),
                            ", or fewer ranks; under Slurm --cpus-per-task=", job.threads)});
  }
  const auto bound = those(hosts, [](const Host& host) {
    return host.has_bound_rank() && host.first().host_cores / host.first().threads_per_core > count(host) &&
           !too_many_ranks(host);
  });
  if (!bound.empty()) {
    const Host& host = bound.front();
    const int64_t cores = host.first().host_cores / host.first().threads_per_core, share = cores / count(host);
    found.push_back({"one_core_bound", Level::kSlow,
                     concat(names(bound), ": each rank is bound to one core, and ", cores - count(host), " of ", cores,
                            " cores idle; the thread that carries MPI shares that core with the one that computes"),
                     concat("mpirun --map-by slot:PE=", share, " (or --bind-to none) and --set run.threads=", share,
                            "; under Slurm --cpus-per-task=", share)});
  }
  const auto spinning = those(hosts, [](const Host& host) {
    return too_many_ranks(host) && host.first().launch.name == "mpirun" &&
           !is_on(host.first(), "OMPI_MCA_mpi_yield_when_idle") &&
           !is_on(host.first(), "OMPI_MCA_mpi_oversubscribe");  // mpirun counted it: Open MPI yields by itself
  });
  if (!spinning.empty()) {
    found.push_back({"no_yield", Level::kSlow,
                     concat(names(spinning), ": more ranks than cores, and a rank that waits in MPI does not yield"),
                     "export OMPI_MCA_mpi_yield_when_idle=1 (mpirun -x ... on other hosts)"});
  }
}

void memory_traps(const JobFacts& job, const std::vector<Host>& hosts, std::vector<Warning>& found) {
  // Open MPI maps 4 MiB a rank and then some; NCCL about 10 MiB a channel and peer.
  const double each = (job.device == Device::kCuda ? 64 : 8) * kMebibyte;
  const auto small = those(hosts, [&](const Host& host) {
    return count(host) > 1 && host.first().shared_memory_bytes < static_cast<double>(count(host)) * each;
  });
  if (small.empty()) return;
  const Host& host = small.front();
  const auto needed = static_cast<int64_t>(static_cast<double>(count(host)) * each / kMebibyte);
  found.push_back(
      {"small_shm", Level::kSlow,
       concat(names(small), ": ", static_cast<int64_t>(host.first().shared_memory_bytes / kMebibyte),
              " MiB are free in /dev/shm, ", count(host), " ranks may need ", needed),
       concat("mount -o remount,size=", std::max<int64_t>(1024, needed), "M /dev/shm; docker run --shm-size=1g")});
}

void gpu_traps(const JobFacts& job, const std::vector<Host>& hosts, std::vector<Warning>& found) {
  if (job.device != Device::kCuda) return;
  const auto lacking = those(hosts, [](const Host& host) {
    const auto gpus = static_cast<int64_t>(host.first().gpus.size());
    const bool own = gpus == 1 && is_set(host.first(), "CUDA_VISIBLE_DEVICES");  // a launcher shows each rank its own
    return gpus == 0 || (gpus < count(host) && !own);
  });
  if (lacking.empty()) return;
  const Host& host = lacking.front();
  found.push_back({"no_gpu", Level::kFatal,
                   concat("run.device = \"cuda\": ", names(lacking), " shows ", host.first().gpus.size(), " GPUs to ",
                          count(host), " ranks", job.cuda.empty() ? ", and this build has no CUDA" : ""),
                   "one rank for each GPU (Slurm: --gpus-per-node as --ntasks-per-node), or run.device = \"cpu\""});
}

void network_traps(const JobFacts& job, const std::vector<Host>& hosts, std::vector<Warning>& found) {
  if (hosts.size() < 2) return;
  const auto several = those(hosts, [](const Host& host) { return host.first().interfaces.size() > 1; });
  if (!several.empty()) {
    const Host& host = several.front();
    std::string list;
    for (const Interface& interface : host.first().interfaces) list += (list.empty() ? "" : ", ") + interface.name;
    const Interface& best = host.first().interfaces.front();
    const std::string fastest = best.network.empty() ? best.name : best.network;
    const bool over_tcp = !host.first().has_fabric;  // else Open MPI takes the fabric by itself
    if (over_tcp && job.mpi_interfaces.empty()) {
      found.push_back(
          {"mpi_interface", Level::kSlow,
           concat(names(several), " has several interfaces (", list, "), and MPI spreads over all of them"),
           concat("export OMPI_MCA_btl_tcp_if_include=", fastest, " OMPI_MCA_oob_tcp_if_include=", fastest)});
    }
    if (job.device == Device::kCuda && !is_set(host.first(), "NCCL_SOCKET_IFNAME")) {
      found.push_back(
          {"nccl_interface", Level::kSlow,
           concat(names(several), " has several interfaces (", list, "), and NCCL takes the first it finds"),
           concat("export NCCL_SOCKET_IFNAME=", best.name)});
    }
  }
  const LinkFacts* slowest = nullptr;
  for (const LinkFacts& link : job.links) {
    if (link.kind != parallel::LinkKind::kBetweenHosts || link.line.beta <= 0) continue;
    if (slowest == nullptr || link.line.beta > slowest->line.beta) slowest = &link;
  }
  if (slowest == nullptr) return;
  const RankFacts& end = job.ranks[static_cast<size_t>(slowest->ranks.front())];
  const double nominal = end.interfaces.empty() ? 0 : end.interfaces.front().bytes_per_second;
  const double measured = slowest->line.bytes_per_second();
  if (measured * 3 > nominal) return;
  found.push_back({"slow_network", Level::kSlow,
                   concat("between ranks ", slowest->ranks[0], " and ", slowest->ranks[1], " ", measured / 1e9,
                          " GB/s were measured, and interface ", end.interfaces.front().name, " of host ", end.host,
                          " could carry ", nominal / 1e9),
                   "name the fast interface (OMPI_MCA_btl_tcp_if_include, NCCL_SOCKET_IFNAME); see what else uses it"});
}

}  // namespace

std::vector<Warning> find_warnings(const JobFacts& job) {
  std::vector<Warning> found;
  const std::vector<Host> hosts = hosts_of(job);
  launcher_traps(job, found);
  gpu_traps(job, hosts, found);
  core_traps(job, hosts, found);
  memory_traps(job, hosts, found);
  network_traps(job, hosts, found);
  return found;
}

}  // namespace launch
