#include "launch/doctor/examine.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/hdf5/version.h"
#include "launch/doctor/facts_json.h"
#include "launch/runs/build_id.h"
#include "parallel/comm/agreement.h"
#include "parallel/device/device_library.h"
#include "parallel/process/mpi_facts.h"

extern char** environ;  // NOLINT: POSIX declares it nowhere

namespace launch {
namespace {

constexpr int kMostCores = 16384;

std::vector<int64_t> allowed_cores() {
  std::vector<int64_t> cores;
  cpu_set_t* set = CPU_ALLOC(kMostCores);
  const size_t bytes = CPU_ALLOC_SIZE(kMostCores);
  if (sched_getaffinity(0, bytes, set) == 0) {
    for (int core = 0; core < kMostCores; ++core) {
      if (CPU_ISSET_S(core, bytes, set)) cores.push_back(core);
    }
  }
  CPU_FREE(set);
  return cores;
}

/// cgroup v2's "max 100000" or "200000 100000", or v1's two files; the smallest limit on the way up to the root.
double cgroup_cores() {
  double least = 0;
  const auto take = [&](double quota, double period) {
    if (quota > 0 && period > 0 && (least == 0 || quota / period < least)) least = quota / period;
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b", "4:cpu,cpuacct:/a/b"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
    const std::filesystem::path root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    for (std::filesystem::path group = line.substr(second + 1);; group = group.parent_path()) {
      const std::filesystem::path here = root / group.relative_path();
      double quota = 0, period = 0;
      if (unified) {
        std::ifstream file(here / "cpu.max");
        if (file >> quota >> period) take(quota, period);  // "max" is no number
      } else {
        std::ifstream of_quota(here / "cpu.cfs_quota_us"), of_period(here / "cpu.cfs_period_us");
        if (of_quota >> quota && of_period >> period) take(quota, period);  // -1: none
      }
      if (group == group.parent_path()) break;
    }
  }
  return least;
}

/// Hardware threads of a core, by the list of core 0's siblings: "0,64", "0-1" or "0".
int64_t threads_per_core() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
  std::string list;
  file >> list;
  return list.find_first_of(",-") == std::string::npos ? 1 : 2;
}

std::string address_text(in_addr address) {
  char text[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &address, text, sizeof(text));
  return text;
}

/// "10.0.0.0/24"
std::string network_of(const ifaddrs& interface, in_addr address) {
  if (interface.ifa_netmask == nullptr) return {};
  const in_addr mask = reinterpret_cast<const sockaddr_in*>(interface.ifa_netmask)->sin_addr;
  address.s_addr &= mask.s_addr;
  return address_text(address) + "/" + std::to_string(std::popcount(mask.s_addr));
}

std::vector<Interface> interfaces() {
  std::vector<Interface> found;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return found;
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    constexpr unsigned kWanted = IFF_UP | IFF_RUNNING;
    const bool usable = (each->ifa_flags & kWanted) == kWanted && (each->ifa_flags & IFF_LOOPBACK) == 0;
    if (!usable || each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET) continue;
    const in_addr own = reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr;
    double megabits = 0;  // -1: the driver does not say
    std::ifstream(std::string("/sys/class/net/") + each->ifa_name + "/speed") >> megabits;
    found.push_back({each->ifa_name, address_text(own), std::max(0.0, megabits) * 1e6 / 8, network_of(*each, own)});
  }
  freeifaddrs(all);
  std::stable_sort(found.begin(), found.end(),
                   [](const Interface& a, const Interface& b) { return a.bytes_per_second > b.bytes_per_second; });
  return found;
}

bool has_fabric() {
  std::error_code error;
  for (const char* folder : {"/sys/class/infiniband", "/sys/class/cxi", "/sys/class/hfi1"}) {
    if (std::filesystem::is_directory(folder, error) && !std::filesystem::is_empty(folder, error)) return true;
  }
  return false;
}

std::map<std::string, std::string> transport_variables() {
  // What mpirun tells its own processes is no choice of anybody's.
  constexpr const char* kOwn[] = {"OMPI_MCA_orte_",         "OMPI_MCA_ess", "OMPI_MCA_pmix",
                                  "OMPI_MCA_shmem_RUNTIME", "OMPI_MCA_plm", "OMPI_MCA_initial_wdir"};
  constexpr const char* kChosen[] = {"OMPI_MCA_", "UCX_", "NCCL_", "FI_", "CUDA_VISIBLE_DEVICES"};
  std::map<std::string, std::string> found;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string text = *each;
    const auto begins = [&](const char* prefix) { return text.starts_with(prefix); };
    if (std::none_of(std::begin(kChosen), std::end(kChosen), begins)) continue;
    if (std::any_of(std::begin(kOwn), std::end(kOwn), begins)) continue;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) found[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return found;
}

}  // namespace

RankFacts examine_rank(parallel::MpiCommunicator& world) {
  RankFacts facts;
  facts.rank = world.rank();
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  facts.host = host;
  facts.host_leader = world.host_leaders()[static_cast<size_t>(world.rank())];
  facts.cores = allowed_cores();
  facts.host_cores = sysconf(_SC_NPROCESSORS_ONLN);
  facts.threads_per_core = threads_per_core();
  facts.cgroup_cores = cgroup_cores();
  if (const char* threads = std::getenv("OMP_NUM_THREADS")) facts.omp_num_threads = threads;
  facts.gpus = parallel::device_facts().gpus;
  struct statvfs shared {};
  if (statvfs("/dev/shm", &shared) == 0) {
    facts.shared_memory_bytes = static_cast<double>(shared.f_bavail) * static_cast<double>(shared.f_frsize);
  }
  facts.interfaces = interfaces();
  facts.has_fabric = has_fabric();
  facts.transport = transport_variables();
  facts.mpi = parallel::mpi_library(world.engine());
  facts.torch = TORCH_VERSION;
  facts.launch = parallel::launch_facts();
  return facts;
}

JobFacts gather_job(parallel::MpiCommunicator& world) {
  JobFacts job;
  for (const std::string& text : parallel::gather_texts(world, to_json(examine_rank(world)).dump())) {
    job.ranks.push_back(rank_from_json(nlohmann::json::parse(text)));
  }
  const parallel::DeviceFacts cuda = parallel::device_facts();
  job.build = build_id();
  job.cuda = cuda.built_with;
  job.nccl = cuda.nccl;
  job.hdf5 = data::hdf5_version();
  job.mpi_interfaces = parallel::mpi_text_parameter(world.engine(), "btl_tcp_if_include").value_or("");
  return job;
}

}  // namespace launch
