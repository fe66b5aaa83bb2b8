#include "launch/doctor/table.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "parallel/base/fault.h"
#include "parallel/base/rank_list.h"

namespace launch {
namespace {

using parallel::concat;
using parallel::rank_list;

[[gnu::format(printf, 1, 2)]] std::string line(const char* format, ...) {
  char text[512];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof(text), format, values);
  va_end(values);
  std::string result = text;
  result.erase(result.find_last_not_of(' ') + 1);
  return result + "\n";
}

std::string or_none(const std::string& text, const char* none = "none") { return text.empty() ? none : text; }

std::string counted(size_t count, const char* what) { return concat(count, " ", what, count == 1 ? "" : "s"); }

std::string describe_hosts(const JobFacts& job) {
  std::string text =
      line("%-20s %-12s %-22s %-10s %s", "host", "ranks", "cores (usable / there)", "/dev/shm", "interfaces");
  for (const Host& host : hosts_of(job)) {
    std::vector<int64_t> ranks;
    for (const RankFacts* rank : host.ranks) ranks.push_back(rank->rank);
    std::string interfaces = host.first().has_fabric ? "fabric " : "";
    for (const Interface& interface : host.first().interfaces) {
      interfaces += concat(interface.name, " ", interface.address, " ");
      if (interface.bytes_per_second > 0) interfaces += concat("(", interface.bytes_per_second * 8e-9, " Gbit/s) ");
    }
    text += line("%-20s %-12s %-22s %-10s %s", host.first().host.c_str(), rank_list(ranks).c_str(),
                 concat(host.usable_cores(), " / ", host.first().host_cores).c_str(),
                 concat(static_cast<int64_t>(host.first().shared_memory_bytes / 1048576), " MiB").c_str(),
                 interfaces.c_str());
  }
  return text;
}

/// What a rank's line says after its number; ranks that say the same share a line.
std::string describe_rank(const RankFacts& rank) {
  std::string gpus = rank.gpus.empty() ? "none" : concat(rank.gpus.size(), " x ", rank.gpus.front());
  std::string cores = rank_list(rank.cores);
  if (rank.cgroup_cores > 0) cores += concat(" (cgroup: ", rank.cgroup_cores, ")");
  return line("%-20s %-28s %-16s %s", rank.host.c_str(), cores.c_str(),
              or_none(rank.omp_num_threads, "not set").c_str(), gpus.c_str());
}

std::string describe_ranks(const JobFacts& job) {
  std::string text = line("%-12s %-20s %-28s %-16s %s", "ranks", "host", "may run on cores", "OMP_NUM_THREADS", "GPUs");
  for (size_t first = 0; first < job.ranks.size();) {
    const std::string words = describe_rank(job.ranks[first]);
    std::vector<int64_t> alike;
    for (; first < job.ranks.size() && describe_rank(job.ranks[first]) == words; ++first) {
      alike.push_back(job.ranks[first].rank);
    }
    text += line("%-12s ", rank_list(alike).c_str());
    text.pop_back();
    text.resize(std::max<size_t>(text.size(), text.rfind('\n') + 14), ' ');
    text += words;
  }
  return text;
}

std::string size_text(int64_t bytes) {
  if (bytes >= 1048576) return concat(bytes / 1048576, " MiB");
  return bytes >= 1024 ? concat(bytes / 1024, " KiB") : concat(bytes, " B");
}

std::string describe_link(const LinkFacts& link, const char* which) {
  const parallel::Sample& last = link.samples.back();
  return line("%-18s %-5s %-16s %10.1f us %9.3f GB/s %8.4f   %s: %.3g ms %s", parallel::to_string(link.kind).c_str(),
              link.device.name(), concat("ranks ", rank_list(link.ranks)).c_str(), link.line.alpha * 1e6,
              link.line.bytes_per_second() * 1e-9, link.line.r2, size_text(last.bytes).c_str(), last.seconds * 1e3,
              which);
}

}  // namespace

std::string describe_job(const JobFacts& job) {
  const RankFacts& first = job.ranks.front();
  std::string text = line("moetrain %s: %s on %s, started by %s", job.build.c_str(),
                          counted(job.ranks.size(), "rank").c_str(), counted(hosts_of(job).size(), "host").c_str(),
                          first.launch.name == "none" ? "no launcher" : first.launch.name.c_str());
  text += line("LibTorch %s, CUDA %s, NCCL %s, %s, HDF5 %s", first.torch.c_str(), or_none(job.cuda).c_str(),
               or_none(job.nccl).c_str(), first.mpi.c_str(), job.hdf5.c_str());
  text += line("a run with run.device = \"%s\", run.threads = %ld", job.device.name(), static_cast<long>(job.threads));
  text += "\n" + describe_hosts(job) + "\n" + describe_ranks(job) + "\n";
  text += "transport settings in the environment:";
  if (first.transport.empty()) text += " none";
  text += "\n";
  for (const auto& [name, value] : first.transport) text += "  " + name + "=" + value + "\n";
  return text;
}

std::string describe_links(const JobFacts& job) {
  if (job.links.empty()) return "links: none to measure with one rank\n";
  std::string text =
      line("%-18s %-5s %-16s %13s %14s %8s   %s", "link", "", "measured", "latency", "bandwidth", "r2", "largest");
  for (const Device device : {Device::kCpu, Device::kCuda}) {
    for (const auto kind :
         {parallel::LinkKind::kInsideHost, parallel::LinkKind::kBetweenHosts, parallel::LinkKind::kAllRanks}) {
      std::vector<const LinkFacts*> links;
      for (const LinkFacts& link : job.links) {
        if (link.kind == kind && link.device == device) links.push_back(&link);
      }
      if (links.empty()) continue;
      std::sort(links.begin(), links.end(), [](auto* a, auto* b) { return a->line.beta < b->line.beta; });
      const bool many = links.size() > 1;
      text +=
          describe_link(*links[(links.size() - 1) / 2], many ? concat("(median of ", links.size(), ")").c_str() : "");
      if (many) text += describe_link(*links.back(), "(slowest)");
    }
  }
  return text +
         "each rank sends to each other one of its group at the same time; seconds = latency + bytes / bandwidth\n";
}

std::string describe_warnings(const std::vector<Warning>& warnings) {
  std::string text;
  for (const Warning& warning : warnings) {
    text += concat(warning.level == Warning::Level::kFatal ? "cannot train" : "warning", " (", warning.code,
                   "): ", warning.what, "\n  what to do: ", warning.remedy, "\n");
  }
  return text;
}

}  // namespace launch
