#include "launch/doctor/facts.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace launch {

int64_t Host::usable_cores() const {
  std::set<int64_t> cores;
  for (const RankFacts* rank : ranks) cores.insert(rank->cores.begin(), rank->cores.end());
  auto usable = static_cast<int64_t>(cores.size());
  // A batch system's cgroup holds all ranks of a job on a host, so each reads the same limit.
  const double limit = first().cgroup_cores;
  if (limit > 0) usable = std::min(usable, std::max<int64_t>(1, std::llround(limit)));
  return usable;
}

bool Host::has_bound_rank() const {
  return std::any_of(ranks.begin(), ranks.end(), [](const RankFacts* rank) {
    return static_cast<int64_t>(rank->cores.size()) <= rank->threads_per_core;
  });
}

std::vector<Host> hosts_of(const JobFacts& job) {
  std::vector<Host> hosts;
  for (const RankFacts& rank : job.ranks) {
    const auto same = std::find_if(hosts.begin(), hosts.end(),
                                   [&](const Host& host) { return host.first().host_leader == rank.host_leader; });
    if (same == hosts.end()) {
      hosts.push_back({{&rank}});
    } else {
      same->ranks.push_back(&rank);
    }
  }
  return hosts;
}

}  // namespace launch
