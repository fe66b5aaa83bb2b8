// A job is described by hand, and the trap in it is found, alone and with what to do.
#include "launch/doctor/warnings.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "launch/doctor/facts_json.h"
#include "launch/doctor/table.h"

namespace {

using launch::JobFacts;
using launch::RankFacts;

constexpr double kGibibyte = 1024.0 * 1024 * 1024;

/// `hosts` of 8 cores with `ranks` each, bound to nothing, on one 12.5 GB/s interface.
JobFacts healthy(int64_t hosts, int64_t ranks) {
  JobFacts job;
  for (int64_t i = 0; i < hosts * ranks; ++i) {
    RankFacts rank;
    rank.rank = i;
    rank.host = "node" + std::to_string(i / ranks);
    rank.host_leader = i / ranks * ranks;
    rank.cores.resize(8);
    std::iota(rank.cores.begin(), rank.cores.end(), int64_t{0});
    rank.host_cores = 8;
    rank.shared_memory_bytes = 8 * kGibibyte;
    rank.interfaces = {{"ib0", "10.0.0.1", 12.5e9}};
    rank.mpi = "Open MPI v4.1.4";
    rank.torch = "2.11.0";
    rank.launch = {.name = "mpirun", .job = "1", .rank = i, .ranks = hosts * ranks, .host_ranks = ranks};
    job.ranks.push_back(rank);
  }
  return job;
}

launch::LinkFacts link_between(int64_t a, int64_t b, double bytes_per_second) {
  launch::LinkFacts link{.kind = parallel::LinkKind::kBetweenHosts, .ranks = {a, b}};
  link.samples = {{8, 1e-5}, {1 << 20, 1e-5 + (1 << 20) / bytes_per_second}};
  link.line = parallel::fit_line(link.samples);
  return link;
}

std::vector<std::string> codes(const JobFacts& job) {
  std::vector<std::string> found;
  for (const launch::Warning& warning : launch::find_warnings(job)) {
    EXPECT_FALSE(warning.what.empty());
    EXPECT_FALSE(warning.remedy.empty());
    found.push_back(warning.code);
  }
  return found;
}

using Codes = std::vector<std::string>;

TEST(Warnings, AHealthyJobHasNone) {
  EXPECT_EQ(codes(healthy(1, 1)), Codes{});
  EXPECT_EQ(codes(healthy(4, 8)), Codes{});
}

TEST(Warnings, MoreRanksThanCores) {
  JobFacts job = healthy(2, 9);
  EXPECT_EQ(codes(job), (Codes{"oversubscribed_ranks", "no_yield"}));
  for (RankFacts& rank : job.ranks) rank.transport["OMPI_MCA_mpi_yield_when_idle"] = "1";
  EXPECT_EQ(codes(job), Codes{"oversubscribed_ranks"});
}

TEST(Warnings, ACgroupCountsAsCores) {
  JobFacts job = healthy(1, 4);
  for (RankFacts& rank : job.ranks) rank.cgroup_cores = 2, rank.launch.name = "srun";
  EXPECT_EQ(codes(job), Codes{"oversubscribed_ranks"});
  EXPECT_NE(launch::find_warnings(job)[0].what.find("4 ranks on 2 usable cores"), std::string::npos);
}

TEST(Warnings, MoreThreadsThanCores) {
  JobFacts job = healthy(1, 4);
  job.threads = 3;
  EXPECT_EQ(codes(job), Codes{"oversubscribed_threads"});
  EXPECT_NE(launch::find_warnings(job)[0].remedy.find("run.threads=2"), std::string::npos);
  job.threads = 2;
  EXPECT_EQ(codes(job), Codes{});
}

TEST(Warnings, AllRanksOnOneCore) {
  JobFacts job = healthy(1, 4);
  for (RankFacts& rank : job.ranks) rank.cores = {3}, rank.transport["OMPI_MCA_mpi_yield_when_idle"] = "1";
  EXPECT_EQ(codes(job), Codes{"one_core_for_all"});
}

TEST(Warnings, EachRankOnOneCoreOfMany) {
  JobFacts job = healthy(1, 2);
  job.ranks[0].cores = {0};
  job.ranks[1].cores = {1};
  EXPECT_EQ(codes(job), Codes{"one_core_bound"});
  EXPECT_NE(launch::find_warnings(job)[0].remedy.find("PE=4"), std::string::npos);
  for (RankFacts& rank : job.ranks) rank.host_cores = 2;  // none idles
  EXPECT_EQ(codes(job), Codes{});
}

TEST(Warnings, LittleSharedMemory) {
  JobFacts job = healthy(1, 4);
  for (RankFacts& rank : job.ranks) rank.shared_memory_bytes = 16.0 * 1024 * 1024;
  EXPECT_EQ(codes(job), Codes{"small_shm"});
}

TEST(Warnings, NoGpuIsFatal) {
  JobFacts job = healthy(1, 2);
  job.device = launch::Device::kCuda;
  ASSERT_EQ(codes(job), Codes{"no_gpu"});
  EXPECT_EQ(launch::find_warnings(job)[0].level, launch::Warning::Level::kFatal);
  for (RankFacts& rank : job.ranks) rank.gpus = {"H200"};
  EXPECT_EQ(codes(job), Codes{"no_gpu"}) << "two ranks on one GPU";
  for (RankFacts& rank : job.ranks) rank.transport["CUDA_VISIBLE_DEVICES"] = std::to_string(rank.rank);
  EXPECT_EQ(codes(job), Codes{}) << "each has its own";
}

TEST(Warnings, SeveralInterfaces) {
  JobFacts job = healthy(2, 2);
  for (RankFacts& rank : job.ranks) rank.interfaces.push_back({"eth0", "192.168.0.1", 0.125e9});
  EXPECT_EQ(codes(job), Codes{"mpi_interface"});
  EXPECT_NE(launch::find_warnings(job)[0].remedy.find("OMPI_MCA_btl_tcp_if_include=ib0"), std::string::npos);
  job.mpi_interfaces = "ib0";
  EXPECT_EQ(codes(job), Codes{});
  job.device = launch::Device::kCuda;
  for (RankFacts& rank : job.ranks) rank.gpus = {"H200", "H200"};
  EXPECT_EQ(codes(job), Codes{"nccl_interface"});
  for (RankFacts& rank : job.ranks) rank.transport["NCCL_SOCKET_IFNAME"] = "ib0";
  EXPECT_EQ(codes(job), Codes{});
}

TEST(Warnings, AnInterfaceThatDoesNotGiveWhatItCould) {
  JobFacts job = healthy(2, 1);
  job.links = {link_between(0, 1, 11e9)};
  EXPECT_EQ(codes(job), Codes{});
  job.links = {link_between(0, 1, 0.12e9)};
  EXPECT_EQ(codes(job), Codes{"slow_network"});
  for (RankFacts& rank : job.ranks) rank.interfaces[0].bytes_per_second = 0;  // not known: nothing to compare with
  EXPECT_EQ(codes(job), Codes{});
}

TEST(Warnings, ProcessesThatDoNotFindEachOther) {
  JobFacts job = healthy(1, 1);
  job.ranks[0].launch = {.name = "srun", .job = "", .rank = 0, .ranks = 4, .host_ranks = 4};
  EXPECT_EQ(codes(job), Codes{"launcher"});
}

TEST(Warnings, DifferentVersions) {
  JobFacts job = healthy(2, 1);
  job.ranks[1].mpi = "Open MPI v5.0.1";
  EXPECT_EQ(codes(job), Codes{"versions"});
}

TEST(Facts, TravelUnchanged) {
  RankFacts rank = healthy(2, 2).ranks[3];
  rank.gpus = {"H200"};
  rank.transport["OMPI_MCA_btl"] = "self,tcp";
  EXPECT_EQ(to_json(launch::rank_from_json(to_json(rank))), to_json(rank));
}

TEST(Table, RanksThatAreAlikeShareALine) {
  JobFacts job = healthy(2, 4);
  job.ranks[2].cores = {5};
  const std::string text = launch::describe_job(job);
  for (const char* words : {"8 ranks on 2 hosts", "0-1   ", "4-7   ", "node1", "ib0 10.0.0.1 (100 Gbit/s)"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  }
}

}  // namespace
