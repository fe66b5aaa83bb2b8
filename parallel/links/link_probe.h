// Links as training meets them: exchanges of the product's own communicators, engine thread and all.
// defines: LinkPhase, plan_links, LinkKind, Collective, ProbeOptions, probe_link
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm/communicator.h"
#include "parallel/links/line_fit.h"

namespace parallel {

enum class LinkKind { kInsideHost, kBetweenHosts, kAllRanks };
std::string to_string(LinkKind kind);

/// Groups of ranks that exchange at the same time; no rank is in two of them.
struct LinkPhase {
  LinkKind kind = LinkKind::kInsideHost;
  std::vector<std::vector<int64_t>> groups;
};

/// Which ranks to measure, in turn, so that the time does not grow with their number: the first two ranks of every
/// host; the first ranks of neighbouring hosts, in a ring that is walked in two (odd: three) steps; all ranks at once
/// where they are more than two. host_of_rank[r]: any number, equal for ranks of one host.
std::vector<LinkPhase> plan_links(const std::vector<int64_t>& host_of_rank);

enum class Collective { kAllToAll, kAllGather, kReduceScatter, kAllReduce };

struct ProbeOptions {
  at::Device device{at::kCPU};
  Collective collective = Collective::kAllToAll;
  // Ascending; that a rank hands in, in an all-to-all to each peer; multiples of 4 but there.
  std::vector<int64_t> bytes = {8, 64, 512, 4096, 32768, 262144, 1048576, 4194304};
  double seconds = 1.5;      // for all sizes together; larger ones are left out where it is spent
  int64_t repetitions = 40;  // of a size, at most
};

/// Every rank of `group` takes part in the collective with so many bytes: the median over repetitions of the slowest
/// rank's time, for each size. The ranks agree on what is left out. Collective over `group`.
/// @pre group.size() > 1
std::vector<Sample> probe_link(Communicator& group, const ProbeOptions& options);

}  // namespace parallel
