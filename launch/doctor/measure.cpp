#include "launch/doctor/measure.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launch/doctor/facts_json.h"
#include "parallel/comm/accelerator_communicator.h"
#include "parallel/comm/agreement.h"

namespace launch {
namespace {

constexpr double kSecondsOfAll = 6;  // for all parts together

using Samples = std::vector<parallel::Sample>;

std::string to_text(const Samples& samples) {
  nlohmann::json json = nlohmann::json::array();
  for (const parallel::Sample& sample : samples) json.push_back({sample.bytes, sample.seconds});
  return json.dump();
}

Samples from_text(const std::string& text) {
  Samples samples;
  for (const auto& sample : nlohmann::json::parse(text)) samples.push_back({sample.at(0), sample.at(1)});
  return samples;
}

/// One part: groups that exchange side by side. Every rank of `world` takes part in the splits.
Samples probe_part(parallel::Communicator& world, const parallel::LinkPhase& phase,
                   const parallel::ProbeOptions& options) {
  const int64_t rank = world.rank();
  const auto mine = std::find_if(phase.groups.begin(), phase.groups.end(), [&](const auto& group) {
    return std::find(group.begin(), group.end(), rank) != group.end();
  });
  const bool taking_part = mine != phase.groups.end();
  const auto number = static_cast<int64_t>(mine - phase.groups.begin());  // the others: a group of one part's leftovers
  const auto group = world.split(number, rank);
  return taking_part ? parallel::probe_link(*group, options) : Samples{};
}

}  // namespace

std::vector<LinkFacts> measure_links(parallel::MpiCommunicator& world, const JobFacts& job, at::Device device,
                                     const std::function<void(const std::string&)>& starts) {
  std::vector<int64_t> host_of_rank;
  for (const RankFacts& rank : job.ranks) host_of_rank.push_back(rank.host_leader);
  const std::vector<parallel::LinkPhase> phases = parallel::plan_links(host_of_rank);
  std::vector<std::pair<at::Device, std::shared_ptr<parallel::Communicator>>> carriers;
  carriers.emplace_back(at::kCPU, world.duplicate());
  if (parallel::is_accelerator(device) && world.size() > 1) {
    starts("NCCL's start");
    carriers.emplace_back(device, parallel::accelerator_communicator(world, device));
  }
  std::vector<LinkFacts> links;
  for (const auto& [where, group] : carriers) {
    parallel::ProbeOptions options;
    options.device = where;
    options.seconds = kSecondsOfAll / static_cast<double>(phases.size() * carriers.size());
    for (const parallel::LinkPhase& phase : phases) {
      starts(parallel::to_string(phase.kind));
      const auto texts = parallel::gather_texts(world, to_text(probe_part(*group, phase, options)));
      for (const auto& ranks : phase.groups) {
        LinkFacts link{.kind = phase.kind,
                       .device = parallel::is_accelerator(where) ? Device::kCuda : Device::kCpu,
                       .ranks = ranks};
        link.samples = from_text(texts[static_cast<size_t>(ranks.front())]);
        link.line = parallel::fit_line(link.samples);
        links.push_back(std::move(link));
      }
    }
  }
  return links;
}

}  // namespace launch
