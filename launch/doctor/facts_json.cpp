#include "launch/doctor/facts_json.h"

#include <nlohmann/json.hpp>

namespace launch {

using nlohmann::json;

json to_json(const RankFacts& rank) {
  json interfaces = json::array();
  for (const Interface& interface : rank.interfaces) {
    interfaces.push_back({{"name", interface.name},
                          {"address", interface.address},
                          {"network", interface.network},
                          {"bytes_per_second", interface.bytes_per_second}});
  }
  return {{"rank", rank.rank},
          {"host", rank.host},
          {"host_leader", rank.host_leader},
          {"cores", rank.cores},
          {"host_cores", rank.host_cores},
          {"threads_per_core", rank.threads_per_core},
          {"cgroup_cores", rank.cgroup_cores},
          {"omp_num_threads", rank.omp_num_threads},
          {"gpus", rank.gpus},
          {"shared_memory_bytes", rank.shared_memory_bytes},
          {"interfaces", interfaces},
          {"has_fabric", rank.has_fabric},
          {"transport", rank.transport},
          {"mpi", rank.mpi},
          {"libtorch", rank.torch},
          {"launcher", rank.launch.name},
          {"launched_ranks", rank.launch.ranks}};
}

RankFacts rank_from_json(const json& json) {
  RankFacts rank;
  json.at("rank").get_to(rank.rank);
  json.at("host").get_to(rank.host);
  json.at("host_leader").get_to(rank.host_leader);
  json.at("cores").get_to(rank.cores);
  json.at("host_cores").get_to(rank.host_cores);
  json.at("threads_per_core").get_to(rank.threads_per_core);
  json.at("cgroup_cores").get_to(rank.cgroup_cores);
  json.at("omp_num_threads").get_to(rank.omp_num_threads);
  json.at("gpus").get_to(rank.gpus);
  json.at("shared_memory_bytes").get_to(rank.shared_memory_bytes);
  for (const auto& interface : json.at("interfaces")) {
    rank.interfaces.push_back(
        {interface.at("name"), interface.at("address"), interface.at("bytes_per_second"), interface.at("network")});
  }
  json.at("has_fabric").get_to(rank.has_fabric);
  json.at("transport").get_to(rank.transport);
  json.at("mpi").get_to(rank.mpi);
  json.at("libtorch").get_to(rank.torch);
  json.at("launcher").get_to(rank.launch.name);
  json.at("launched_ranks").get_to(rank.launch.ranks);
  return rank;
}

namespace {

json to_json(const LinkFacts& link) {
  json samples = json::array();
  for (const parallel::Sample& sample : link.samples) {
    samples.push_back({{"bytes", sample.bytes}, {"seconds", sample.seconds}});
  }
  return {{"kind", parallel::to_string(link.kind)},
          {"device", link.device.name()},
          {"ranks", link.ranks},
          {"latency_us", link.line.alpha * 1e6},
          {"bandwidth_gb_per_s", link.line.bytes_per_second() / 1e9},
          {"alpha_seconds", link.line.alpha},
          {"beta_seconds_per_byte", link.line.beta},
          {"r2", link.line.r2},
          {"samples", samples}};
}

}  // namespace

json to_json(const JobFacts& job, const std::vector<Warning>& warnings) {
  json result{{"build", job.build},
              {"versions",
               {{"libtorch", job.ranks.front().torch},
                {"cuda", job.cuda},
                {"nccl", job.nccl},
                {"mpi", job.ranks.front().mpi},
                {"hdf5", job.hdf5}}},
              {"launcher", job.ranks.front().launch.name},
              {"device", job.device.name()},
              {"threads", job.threads},
              {"mpi_interfaces", job.mpi_interfaces},
              {"ranks", json::array()},
              {"hosts", json::array()},
              {"links", json::array()},
              {"warnings", json::array()}};
  for (const RankFacts& rank : job.ranks) result["ranks"].push_back(to_json(rank));
  for (const Host& host : hosts_of(job)) {
    json ranks = json::array();
    for (const RankFacts* rank : host.ranks) ranks.push_back(rank->rank);
    result["hosts"].push_back({{"name", host.first().host}, {"ranks", ranks}, {"usable_cores", host.usable_cores()}});
  }
  for (const LinkFacts& link : job.links) result["links"].push_back(to_json(link));
  for (const Warning& warning : warnings) {
    result["warnings"].push_back({{"code", warning.code},
                                  {"fatal", warning.level == Warning::Level::kFatal},
                                  {"what", warning.what},
                                  {"remedy", warning.remedy}});
  }
  return result;
}

}  // namespace launch
