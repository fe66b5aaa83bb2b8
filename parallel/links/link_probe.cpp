#include "parallel/links/link_probe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>

#include "parallel/base/even_part.h"
#include "parallel/device/accelerator.h"

namespace parallel {
namespace {

constexpr int64_t kFewest = 3;  // repetitions, whatever they cost

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// One collective with its buffers, of one size.
class Exchange {
 public:
  Exchange(Communicator& group, Collective collective, int64_t bytes, at::Device device)
      : group_(group), collective_(collective), rows_(static_cast<size_t>(group.size()), bytes) {
    const auto own = static_cast<size_t>(group.rank());
    const at::TensorOptions octets = at::TensorOptions(at::kByte).device(device);
    const at::TensorOptions words = at::TensorOptions(at::kFloat).device(device);
    switch (collective) {
      case Collective::kAllToAll:
        rows_[own] = 0;
        in_ = at::zeros({bytes * (group.size() - 1)}, octets);
        out_ = at::zeros_like(in_);
        return;
      case Collective::kAllGather:
        in_ = at::zeros({bytes}, octets);
        out_ = at::zeros({bytes * group.size()}, octets);
        return;
      case Collective::kReduceScatter:
        for (size_t r = 0; r < rows_.size(); ++r) {
          rows_[r] = even_part(bytes / kWord, static_cast<int64_t>(r), group.size()).count;
        }
        in_ = at::zeros({bytes / kWord}, words);
        out_ = at::zeros({rows_[own]}, words);
        return;
      case Collective::kAllReduce:
        out_ = at::zeros({bytes / kWord}, words);
        return;
    }
  }

  /// Seconds of one exchange on this rank.
  double run() {
    const double start = now();
    issue().wait();
    wait_for_device(out_.device());  // waiting only queues there
    return now() - start;
  }

 private:
  static constexpr int64_t kWord = sizeof(float);

  Work issue() {
    switch (collective_) {
      case Collective::kAllToAll:
        return group_.all_to_all(out_, in_, rows_, rows_);
      case Collective::kAllGather:
        return group_.all_gather_rows(out_, in_, rows_);
      case Collective::kReduceScatter:
        return group_.reduce_scatter_rows(out_, in_, rows_);
      default:
        return group_.all_reduce(out_, ReduceOp::kSum);
    }
  }

  Communicator& group_;
  Collective collective_;
  RowCounts rows_;
  at::Tensor in_, out_;
};

/// The slowest rank's values, the same on every rank.
std::vector<double> slowest(Communicator& group, const std::vector<double>& values, at::Device device) {
  at::Tensor all = at::tensor(values, at::kDouble).to(device);
  group.all_reduce(all, ReduceOp::kMax).wait();
  all = all.cpu();
  return {all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.numel()};
}

}  // namespace

std::string to_string(LinkKind kind) {
  switch (kind) {
    case LinkKind::kInsideHost:
      return "inside a host";
    case LinkKind::kBetweenHosts:
      return "between hosts";
    default:
      return "all ranks at once";
  }
}

std::vector<LinkPhase> plan_links(const std::vector<int64_t>& host_of_rank) {
  std::map<int64_t, std::vector<int64_t>> ranks_of;
  std::vector<int64_t> order;  // of hosts, by their first rank
  for (size_t rank = 0; rank < host_of_rank.size(); ++rank) {
    auto& ranks = ranks_of[host_of_rank[rank]];
    if (ranks.empty()) order.push_back(host_of_rank[rank]);
    ranks.push_back(static_cast<int64_t>(rank));
  }
  LinkPhase inside{LinkKind::kInsideHost, {}};
  for (const int64_t host : order) {
    if (ranks_of[host].size() > 1) inside.groups.push_back({ranks_of[host][0], ranks_of[host][1]});
  }
  std::vector<LinkPhase> phases{inside,
                                {LinkKind::kBetweenHosts, {}},
                                {LinkKind::kBetweenHosts, {}},
                                {LinkKind::kBetweenHosts, {}},
                                {LinkKind::kAllRanks, {}}};
  const size_t hosts = order.size();
  for (size_t i = 0; i < hosts; ++i) {
    if (hosts == 1 || (hosts == 2 && i == 1)) break;
    const bool closes_odd_ring = i + 1 == hosts && hosts % 2 == 1;
    phases[closes_odd_ring ? 3 : 1 + i % 2].groups.push_back(
        {ranks_of[order[i]][0], ranks_of[order[(i + 1) % hosts]][0]});
  }
  if (host_of_rank.size() > 2) {
    phases.back().groups.emplace_back(host_of_rank.size());
    std::iota(phases.back().groups[0].begin(), phases.back().groups[0].end(), int64_t{0});
  }
  std::erase_if(phases, [](const LinkPhase& phase) { return phase.groups.empty(); });
  return phases;
}

std::vector<Sample> probe_link(Communicator& group, const ProbeOptions& options) {
  std::vector<Sample> samples;
  double spent = 0;  // agreed: the slowest rank's
  for (const int64_t bytes : options.bytes) {
    if (samples.size() >= 2) {  // two make a line
      const Sample& last = samples.back();
      const double expected = last.seconds * static_cast<double>(bytes) / static_cast<double>(last.bytes);
      // Small messages do not grow with their size; it is the large ones that must be foreseen.
      if (bytes > 65536 && spent + static_cast<double>(kFewest + 1) * expected > options.seconds) break;
      if (spent > options.seconds) break;
    }
    Exchange exchange(group, options.collective, bytes, options.device);
    const double first = slowest(group, {exchange.run()}, options.device)[0];  // opens the connection: not counted
    const double share = (options.seconds - spent) / 3;
    const auto fitting = static_cast<int64_t>(share / std::max(first, 1e-7));
    std::vector<double> times(static_cast<size_t>(std::clamp(fitting, kFewest, options.repetitions)));
    for (double& time : times) time = exchange.run();
    times = slowest(group, times, options.device);
    spent += first + std::accumulate(times.begin(), times.end(), 0.0);
    samples.push_back({bytes, median(times)});
  }
  return samples;
}

}  // namespace parallel
